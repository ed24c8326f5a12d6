import CWireProtocol
import Device
import Fencing
import Logging
import SystemPackage
import WireProtocol

/// A stream of an open file: ioctls and mmaps of one thread of a program, one at a time.
///
/// A call that waits is answered from the completion; the thread goes back to receiving, where it
/// hears of a program that died meanwhile.
///
/// Threading: the thread runs ``run()``; ``cutOff()`` may be called from any.
final class DRMStream: Sendable {
    let id: UInt64
    private let socket: UnixSocket
    private let file: DRMOpenFile

    private struct State {
        /// The serial of the request that has no reply yet.
        var current: UInt32?
        /// How to end it early.
        var pending: PendingIoctl?
        var isEnding = false
    }

    private let state = Guarded(.drmStream, State())

    init(id: UInt64, socket: UnixSocket, file: DRMOpenFile) {
        self.id = id
        self.socket = socket
        self.file = file
    }

    /// Serves requests until the peer leaves or breaks the framing.
    @Sendable func run() {
        let buffer = MessageBuffer()
        do throws(WireError) {
            while let received = try socket.receive(into: buffer) {
                let bytes = received.announcedBytes
                let wasRefused = try handle(received)
                let delay = file.delayOfNextCall(bytes: bytes, wasRefused: wasRefused)
                if delay > 0 { socket.rest(for: delay) }
            }
        } catch {
            file.logger.debug("stream lost", metadata: ["error": "\(error)"])
        }
        let pending = state.withLock { state in
            state.isEnding = true
            return exchange(&state.pending, with: nil)
        }
        pending?.cancel()
        socket.shutdown()
        file.remove(self)
    }

    /// Ends the stream; its thread cleans up.
    func cutOff() { socket.shutdown() }

    /// Carries a request out, or starts it; true if it was refused as none.
    private func handle(_ received: consuming ReceivedMessage) throws(WireError) -> Bool {
        file.server.counters.requests.add(1, ordering: .relaxed)
        var message: IncomingDRMMessage
        do throws(DecodeFailure) {
            message = try IncomingDRMMessage(decoding: received)
        } catch {
            refuse(error.opcode, error.serial, error.error)
            return true
        }
        let serial = message.serial
        let isFirst = state.withLock { state in
            guard state.current == nil else { return false }
            state.current = serial
            return true
        }
        // Whoever talks before it is answered could fill the daemon with waits.
        guard isFirst else { throw .invalid("a request before the reply to the last one") }
        do throws(WireError) {
            switch message.opcode {
            case .ioctl: try ioctl(&message)
            case .mmap: try mmap(message)
            case .open, .stream:
                throw .invalid("\(message.opcode) on a stream: it takes ioctls and mmaps")
            }
            return false
        } catch {
            refuse(message.opcode.rawValue, serial, error)
            return true
        }
    }

    // MARK: requests

    private func ioctl(_ message: inout IncomingDRMMessage) throws(WireError) {
        let fds = message.takeFDs()
        let call = try IoctlMessage.decode(message, fds)
        let serial = message.serial
        file.server.observers.trace?.waitForRoom()
        let begun = Runtime.now()
        file.server.observers.pictures?.noteBefore(call, of: file.file.client)
        let pending = file.ioctl(call) { [self] reply in
            note(call, reply, begun: begun)
            answer(serial, ioctlReply: reply)
        }
        // The call's descriptors were open so far; whoever needs one longer has a copy.
        withExtendedLifetime(fds) {}
        guard let pending else { return }
        let isLate = state.withLock { state in
            if state.current == serial { state.pending = pending }
            return state.isEnding
        }
        if isLate { pending.cancel() }
    }

    private func mmap(_ message: borrowing IncomingDRMMessage) throws(WireError) {
        var reader = message.reader
        let request: gpuvm_drm_mmap = try reader.read()
        var builder = ReplyBuilder(to: .mmap, serial: message.serial)
        let begun = Runtime.now()
        var result: Int32 = 0
        do throws(IoctlError) {
            let mapped = try file.file.map(offset: request.offset, length: request.length)
            builder.append(
                gpuvm_drm_mmap_reply(offset: mapped.offset, result: 0, reserved: 0))
            builder.attach(borrowing: mapped.descriptor.rawValue, of: mapped.descriptor)
        } catch {
            result = -error.errno
            builder.append(gpuvm_drm_mmap_reply(offset: 0, result: result, reserved: 0))
        }
        file.server.observers.trace?.note(
            .map(
                file.file.client.id, offset: request.offset, bytes: request.length, begun,
                Runtime.now(), result: result))
        answer(builder.finishInline())
    }

    // MARK: replies

    /// Counts and records a call before it is answered, so that who has the answer finds it counted;
    /// possibly on the signalling path.
    private func note(_ call: IoctlCall, _ reply: IoctlReply, begun: UInt64) {
        file.ledger.note(call.request, result: reply.result)
        file.server.files.total.note(call.request, result: reply.result)
        guard let trace = file.server.observers.trace else { return }
        trace.note(
            .ioctl(file.file.client.id, stream: id, call, reply, begun, Runtime.now()))
    }

    private func answer(_ serial: UInt32, ioctlReply reply: IoctlReply) {
        do throws(WireError) {
            answer(try IoctlMessage.encode(reply, serial: serial))
        } catch {
            refuse(DRMOpcode.ioctl.rawValue, serial, error)
        }
    }

    private func refuse(_ opcode: UInt16, _ serial: UInt32, _ error: WireError) {
        file.server.counters.failedRequests.add(1, ordering: .relaxed)
        answer(ReplyBuilder.failure(opcode: opcode, serial: serial, error))
    }

    /// Sends the reply to the current request without ever blocking; possibly on the signalling path.
    private func answer(_ message: borrowing OutgoingMessage) {
        // Before the reply: who has read it may send at once.
        let pending = state.withLock { state in
            state.current = nil
            return exchange(&state.pending, with: nil)
        }
        withExtendedLifetime(pending) {}
        do throws(WireError) {
            // Its one reply has room, unless the program plays tricks.
            if try !message.send(on: socket, blocking: false) { socket.shutdown() }
        } catch {
            socket.shutdown()
        }
    }
}

extension LockClass {
    /// A stream's request in progress: completions take it on the signalling path.
    static let drmStream = LockClass("drm-stream", rank: 96, signallingSafe: true)
}
