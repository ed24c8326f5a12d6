import Fencing
import SystemPackage
import WireProtocol

// @unchecked: `buffer` belongs to the thread that has the reader's role, which the lock hands out.
/// The requests that wait for their replies, and the thread that reads for all of them.
///
/// One of the waiting callers is the reader: it blocks in recvmsg(2), hands every reply to whom it
/// belongs by its serial, and gives the role to another waiter when its own has come. So no thread
/// exists for the connection alone, and a single caller's request costs no wake-up.
///
/// Threading: any thread.
final class CallTable: @unchecked Sendable {
    private let socket: UnixSocket
    private let buffer = MessageBuffer()
    private let state = Guarded(.leaf, State())

    // @unchecked: `reply` is written before and read after isDone; the rest is guarded by the lock.
    private final class Call: @unchecked Sendable {
        let condition = Condition()
        var reply: CallReply?
        var isDone = false
        var isParked = false
    }

    private struct State {
        var calls: [UInt32: Call] = [:]
        var lastSerial: UInt32 = 0
        var hasReader = false
        var failure: WireError?
    }

    private enum Turn {
        case done
        case read
        case failed(WireError)
    }

    init(_ socket: UnixSocket) {
        self.socket = socket
    }

    /// Whether the daemon is known to be gone.
    var failure: WireError? { state.withLock { $0.failure } }

    /// Sends a request and waits for its reply.
    ///
    /// - Throws: What the daemon answered; ECONNRESET, ENOTCONN; EPROTO when it broke the protocol.
    func perform(_ request: consuming Request) throws(ClientError) -> CallReply {
        let opcode = request.opcode
        do throws(WireError) {
            let reply = try exchange(request)
            if let error = reply.error { throw error }
            guard reply.opcode == opcode else {
                throw WireError(.protocolError, "the reply answers \(reply.opcode)")
            }
            return reply
        } catch {
            throw ClientError(error, opcode)
        }
    }

    /// Fails every call, those under way and those to come, and wakes whoever blocks.
    func fail(_ error: WireError) {
        state.withLock { state in
            guard state.failure == nil else { return }
            state.failure = error
            for call in state.calls.values { call.condition.signal() }
        }
        socket.shutdown()
    }

    private func exchange(_ request: consuming Request) throws(WireError) -> CallReply {
        let call = Call()
        let serial = try register(call)
        do throws(WireError) {
            let message = try request.finish(serial: serial)
            try send(message)
        } catch {
            state.withLock { _ = $0.calls.removeValue(forKey: serial) }
            throw error
        }
        while true {
            switch takeTurn(call) {
            case .done:
                // Set together with isDone, and taken here only.
                guard let reply = call.reply.take() else { fatalError("a reply was taken twice") }
                return reply
            case .failed(let error): throw error
            case .read: readUntilDone(call)
            }
        }
    }

    private func register(_ call: Call) throws(WireError) -> UInt32 {
        try state.withLock { state throws(WireError) in
            if let failure = state.failure {
                throw WireError(.socketNotConnected, "the connection has ended: \(failure.text)")
            }
            repeat { state.lastSerial &+= 1 } while state.calls[state.lastSerial] != nil
            state.calls[state.lastSerial] = call
            return state.lastSerial
        }
    }

    private func send(_ message: consuming OutgoingMessage) throws(WireError) {
        do throws(WireError) {
            _ = try message.send(on: socket, blocking: true)
        } catch {
            // EMSGSIZE and ETOOMANYREFS concern this message only; the others end the connection.
            guard error.code == .brokenPipe || error.code == .connectionReset else { throw error }
            let gone = Self.daemonGone
            fail(gone)
            throw gone
        }
    }

    private func takeTurn(_ call: Call) -> Turn {
        let turn = state.wait(on: call.condition) { state -> Turn? in
            call.isParked = false
            if call.isDone { return .done }
            if let failure = state.failure { return .failed(failure) }
            guard state.hasReader else {
                state.hasReader = true
                return .read
            }
            call.isParked = true
            return nil
        }
        // Without a deadline the wait ends with a turn.
        guard let turn else { fatalError("a wait without a deadline timed out") }
        return turn
    }

    /// Reads replies until `call`'s has come or the connection ends, then gives the role up.
    private func readUntilDone(_ call: Call) {
        do throws(WireError) {
            while !(try readOne(call)) {}
            state.withLock { state in
                state.hasReader = false
                // Whoever is not parked yet takes the role on its own when it comes to wait.
                state.calls.values.first { $0.isParked }?.condition.signal()
            }
        } catch {
            state.withLock { $0.hasReader = false }
            fail(error)
        }
    }

    /// Reads one reply and delivers it; true if it was `call`'s.
    private func readOne(_ call: Call) throws(WireError) -> Bool {
        let received: ReceivedMessage?
        do throws(WireError) {
            received = try socket.receive(into: buffer)
        } catch {
            throw error.code == .connectionReset ? Self.daemonGone : error
        }
        guard let received else { throw Self.daemonGone }
        let serial: UInt32
        let reply: CallReply
        do throws(DecodeFailure) {
            var message = try IncomingMessage(decoding: received, as: .reply)
            serial = message.serial
            do throws(WireError) { reply = try CallReply(&message) } catch {
                throw DecodeFailure(opcode: 0, serial: serial, error: error)
            }
        } catch {
            throw WireError(.protocolError, "the daemon's reply: \(error.error.text)")
        }
        return try deliver(reply, serial: serial) === call
    }

    private func deliver(
        _ reply: consuming CallReply, serial: UInt32
    ) throws(WireError) -> Call {
        let call = state.withLock { $0.calls.removeValue(forKey: serial) }
        guard let call else {
            throw WireError(.protocolError, "the daemon answered the unknown serial \(serial)")
        }
        // Nobody looks at the reply before isDone is set under the lock.
        call.reply = consume reply
        state.withLock { _ in
            call.isDone = true
            call.condition.signal()
        }
        return call
    }

    private static let daemonGone = WireError(
        .connectionReset, "the daemon closed the connection: it ended, or refused this client")
}
