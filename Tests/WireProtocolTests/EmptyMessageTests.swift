import CPlatform
import Glibc
import Testing
import WireProtocol

/// Messages without a byte, which recvmsg(2) reports like the end of the stream.
@Suite struct EmptyMessageTests {
    /// What came: the bytes of a message, nil at the end of the stream.
    private func receive(_ socket: UnixSocket, blocking: Bool = true) throws -> Int? {
        let buffer = MessageBuffer()
        guard let received = try socket.receive(into: buffer, blocking: blocking) else {
            return nil
        }
        return received.bytes.count
    }

    private func send(_ socket: UnixSocket, bytes count: Int = 0, fds: [Int32] = []) throws {
        var bytes = [UInt8](repeating: 7, count: max(1, count))
        let sent = bytes.withUnsafeMutableBytes { raw in
            var message = gpuvm_message()
            message.bytes = raw.baseAddress
            message.length = count
            message.fd_count = UInt32(fds.count)
            withUnsafeMutableBytes(of: &message.fds) { target in
                for (index, fd) in fds.enumerated() {
                    target.storeBytes(of: fd, toByteOffset: 4 * index, as: Int32.self)
                }
            }
            return gpuvm_send(socket.rawValue, &message, 0)
        }
        try #require(sent == count)
    }

    @Test(arguments: [true, false]) func anEmptyMessageIsNotTheEnd(blocking: Bool) throws {
        let (client, server) = try UnixSocket.pair()
        try send(client)
        try send(client)
        try send(client, bytes: 20)
        #expect(try receive(server, blocking: blocking) == 0)
        #expect(try receive(server, blocking: blocking) == 0)
        #expect(try receive(server, blocking: blocking) == 20)
        client.shutdown()
        #expect(try receive(server, blocking: blocking) == nil)
        #expect(try receive(server, blocking: blocking) == nil)
    }

    @Test func itIsTooShortForItsHeader() throws {
        let (client, server) = try UnixSocket.pair()
        try send(client)
        let buffer = MessageBuffer()
        guard let received = try server.receive(into: buffer) else {
            Issue.record("the message was taken for the end")
            return
        }
        do throws(DecodeFailure) {
            _ = try IncomingMessage(decoding: received, as: .request)
            Issue.record("an empty message was decoded")
        } catch {
            #expect(error.error.code == .invalidArgument)
            #expect(error.opcode == 0 && error.serial == 0)
        }
    }

    @Test func theEndComesAfterEmptyMessages() throws {
        for count in 1...3 {
            let (client, server) = try UnixSocket.pair()
            for _ in 0..<count { try send(client) }
            client.shutdown()
            var received = 0
            while try receive(server) != nil {
                received += 1
                try #require(received <= count, "the end of the stream does not come")
            }
        }
    }

    @Test func whatFollowsAnEmptyMessageIsReceivedFromAPeerThatHasGone() throws {
        let (client, server) = try UnixSocket.pair()
        try send(client)
        try send(client, bytes: 16)
        client.shutdown()
        #expect(try receive(server) == 0)
        #expect(try receive(server) == 16)
        #expect(try receive(server) == nil)
    }

    @Test func theDescriptorsOfAnEmptyMessageAreClosed() throws {
        let (client, server) = try UnixSocket.pair()
        let memfd = try OwnedFD.memfd(name: "empty", bytes: 4096)
        let file = try #require(fileID(of: memfd.rawValue))
        try send(client, fds: [memfd.rawValue])
        client.shutdown()
        #expect(try receive(server) == 0)
        #expect(try receive(server) == nil)
        close(memfd.release())
        #expect(!openFiles().contains(file))
    }

    @Test func aPeerThatSendsNoMoreHasEnded() throws {
        let (client, server) = try UnixSocket.pair()
        #expect(Glibc.shutdown(client.rawValue, Int32(SHUT_WR)) == 0)
        #expect(try receive(server) == nil)
    }
}
