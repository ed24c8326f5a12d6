import CPlatform
import CWireProtocol
import Glibc
import SystemPackage
import Testing
import WireProtocol

@Suite struct SocketTests {
    /// Receives and decodes what the other end sent; nil at the end of the stream.
    private func receive(
        _ socket: UnixSocket, as direction: IncomingMessage.Direction = .request
    ) throws -> Decoded? {
        let buffer = MessageBuffer()
        guard let received = try socket.receive(into: buffer, blocking: false) else { return nil }
        let message = try IncomingMessage(decoding: received, as: direction)
        return Decoded(
            opcode: message.opcode, serial: message.serial, status: message.status,
            body: message.copyBody(), fdCount: message.fds.count)
    }

    @Test func requestTravelsWithItsDescriptor() throws {
        let (client, server) = try UnixSocket.pair()
        let memfd = try OwnedFD.memfd(name: "bo", bytes: 4096)
        var contents = gpuvm_bo_import()
        contents.size = 4096
        var request = Request(.boImport, contents)
        request.attach(borrowing: memfd.rawValue)
        let message = try request.finish(serial: 3)
        #expect(try message.send(on: client, blocking: true))
        let number = try #require(try onlyDescriptor(server))
        let original = memfd.rawValue
        #expect(fileID(of: number) == fileID(of: original))
        #expect(fcntl(number, F_GETFD) & FD_CLOEXEC != 0)
        close(number)
    }

    /// The number of the one descriptor that the next message carries.
    private func onlyDescriptor(_ socket: UnixSocket) throws -> Int32? {
        let buffer = MessageBuffer()
        guard var message = try socket.receive(into: buffer, blocking: false),
            message.fds.count == 1
        else { return nil }
        return message.fds.take(0)?.release()
    }

    @Test func longRequestGoesByMemfd() throws {
        let (client, server) = try UnixSocket.pair()
        let count = 3000
        let ops = (0..<count).map { index in
            gpuvm_bind_op(
                kind: 1, flags: 0, bo: 0, reserved: 0, address: UInt64(index) << 12, range: 4096,
                offset: 0)
        }
        var request = Request(
            .vmBind,
            gpuvm_vm_bind(
                vm: 1, queue: 0, flags: 0, op_count: UInt32(count), wait_count: 0, signal_count: 0))
        request.append(ops)
        let message = try request.finish(serial: 8)
        #expect(message.bytes.count == 16)
        #expect(try message.send(on: client, blocking: true))
        let decoded = try #require(try receive(server))
        #expect(decoded.fdCount == 0)
        #expect(decoded.body.count == 24 + count * 40)
        let last = decoded.body.withUnsafeBytes {
            $0.loadUnaligned(
                fromByteOffset: 24 + (count - 1) * 40, as: gpuvm_bind_op.self)
        }
        #expect(last.address == UInt64(count - 1) << 12)
    }

    @Test func messageAtTheInlineLimitStaysInline() throws {
        let (client, server) = try UnixSocket.pair()
        // 16 + 8 + 4095 * 16 = 65544 is above the limit, 4094 below.
        for (count, inline) in [(4094, true), (4095, false)] {
            var request = Request(
                .syncobjSignal, gpuvm_syncobj_array(count: UInt32(count), flags: 0))
            request.append([gpuvm_sync](repeating: gpuvm_sync(), count: count))
            let message = try request.finish(serial: 1)
            #expect((message.bytes.count > 16) == inline)
            #expect(try message.send(on: client, blocking: true))
            #expect(try receive(server)?.body.count == 8 + count * 16)
        }
    }

    @Test func longReplyGoesByMemfd() throws {
        let (client, server) = try UnixSocket.pair()
        var builder = ReplyBuilder(to: .vmBind, serial: 4)
        builder.append(
            gpuvm_vm_bind_reply(
                fence_context: 1, fence_sequence: 2, op_count: 1000, ops_omitted: 0))
        builder.append(
            contentsOf: [gpuvm_op_record](repeating: gpuvm_op_record(), count: 1000))
        let message = try builder.finish()
        #expect(try message.send(on: server, blocking: false))
        let decoded = try #require(try receive(client, as: .reply))
        #expect(decoded.body.count == 24 + 112 * 1000)
        #expect(decoded.serial == 4)
    }

    @Test func tooLongIsAnError() throws {
        var request = Request(.syncobjSignal, gpuvm_syncobj_array(count: 0, flags: 0))
        request.append([UInt64](repeating: 0, count: Int(GPUVM_MAX_EXTERNAL) / 8))
        do throws(WireError) {
            _ = try request.finish(serial: 1)
            Issue.record("a message above the limit was built")
        } catch {
            #expect(error.code == .messageTooLong)
        }
    }

    @Test func fullPeerIsToldWithoutBlocking() throws {
        let (client, server) = try UnixSocket.pair()
        let message = ReplyBuilder.failure(
            opcode: 1, serial: 1, .invalid(String(repeating: "x", count: 1000)))
        var sent = 0
        while sent < 10_000, try message.send(on: server, blocking: false) { sent += 1 }
        #expect(sent > 0 && sent < 10_000)
        let read = try receive(client, as: .reply)
        #expect(read?.status == 22)
        #expect(try message.send(on: server, blocking: false))
    }

    @Test func endOfTheStreamAndHangUp() throws {
        let (client, server) = try UnixSocket.pair()
        #expect(!client.peerHasHungUp())
        server.shutdown()
        #expect(try receive(client) == nil)
        #expect(client.peerHasHungUp())
        let message = ReplyBuilder.failure(opcode: 1, serial: 1, .invalid("late"))
        #expect(throws: WireError.self) { try message.send(on: client, blocking: true) }
    }

    @Test func nothingThereIsEAGAIN() throws {
        let (client, server) = try UnixSocket.pair()
        do throws(WireError) {
            let buffer = MessageBuffer()
            _ = try client.receive(into: buffer, blocking: false)
            Issue.record("something was received")
        } catch {
            #expect(error.code == .resourceTemporarilyUnavailable)
        }
        #expect(!server.peerHasHungUp())
    }

    @Test func listenConnectAccept() throws {
        let path = "/tmp/gpuvm-wire-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
        defer { unlink(path) }
        let listener = try UnixSocket.listen(path: path)
        var status = stat()
        #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
        let client = try UnixSocket.connect(path: path)
        let server = try listener.accept()
        let credentials = try server.peerCredentials()
        #expect(credentials.pid == getpid())
        #expect(credentials.uid == geteuid())
        #expect(fcntl(server.rawValue, F_GETFD) & FD_CLOEXEC != 0)
        let message = ReplyBuilder.failure(opcode: 1, serial: 1, .invalid("hello"))
        #expect(try message.send(on: client, blocking: true))
        #expect(try receive(server, as: .reply)?.status == 22)
        do throws(WireError) {
            _ = try UnixSocket.listen(path: path)
            Issue.record("the path was bound twice")
        } catch {
            #expect(error.code == .addressInUse)
        }
    }

    @Test func pathsAreChecked() {
        let long = "/tmp/" + String(repeating: "p", count: 103)
        #expect(long.utf8.count == 108)
        do throws(WireError) {
            _ = try UnixSocket.listen(path: long)
            Issue.record("a path of 108 bytes was accepted")
        } catch {
            #expect(error.code == .fileNameTooLong)
            #expect(error.text.contains("107"))
        }
        do throws(WireError) {
            _ = try UnixSocket.connect(path: "/tmp/gpuvm-nobody-\(getpid())")
            Issue.record("nobody listens and yet it connects")
        } catch {
            #expect(error.code == .noSuchFileOrDirectory)
        }
    }

    /// More descriptors than a message may carry, sent by someone who does not use this library.
    @Test func tooManyDescriptorsAreClosed() throws {
        let (client, server) = try UnixSocket.pair()
        let fd = try OwnedFD.memfd(name: "many", bytes: 4096)
        let number = fd.rawValue
        let file = try #require(fileID(of: number))
        let body = [UInt8](repeating: 0, count: 40)
        let sent = sendRaw(
            client.rawValue, Hand.message(17, body: body),
            [Int32](repeating: fd.rawValue, count: 20))
        #expect(sent == 56)
        #expect(throws: DecodeFailure.self) { try receive(server) }
        close(fd.release())
        #expect(!openFiles().contains(file))
    }

    private func sendRaw(_ socket: Int32, _ bytes: [UInt8], _ fds: [Int32]) -> Int {
        // CMSG_SPACE and CMSG_LEN for 64-bit Linux: a 16-byte cmsghdr, data aligned to 8.
        let dataBytes = fds.count * 4
        var control = [UInt64](repeating: 0, count: 2 + (dataBytes + 7) / 8)
        control[0] = UInt64(16 + dataBytes)
        control[1] = UInt64(UInt32(SOL_SOCKET)) | UInt64(1) << 32
        control.withUnsafeMutableBytes { raw in
            fds.withUnsafeBytes {
                raw.baseAddress?.advanced(by: 16).copyMemory(
                    from: $0.baseAddress.unsafelyUnwrapped, byteCount: dataBytes)
            }
        }
        var payload = bytes
        return payload.withUnsafeMutableBytes { data in
            var vector = iovec(iov_base: data.baseAddress, iov_len: data.count)
            return withUnsafeMutablePointer(to: &vector) { vector in
                control.withUnsafeMutableBytes { raw in
                    var header = msghdr()
                    header.msg_iov = vector
                    header.msg_iovlen = 1
                    header.msg_control = raw.baseAddress
                    header.msg_controllen = raw.count
                    return sendmsg(socket, &header, 0)
                }
            }
        }
    }
}
