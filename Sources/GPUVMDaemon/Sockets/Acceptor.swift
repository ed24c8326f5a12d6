import Fencing
import Glibc
import Logging
import Synchronization
import SystemPackage
import WireProtocol

/// The thread that takes connections from a listening socket and hands them to a handler.
///
/// It is never out of descriptors for long: one is kept spare, and spent on accepting and closing a
/// connection that could not be had otherwise, since a connection left in the backlog would make the
/// listener readable for ever.
///
/// Threading: any thread; ``stop()`` joins.
public final class Acceptor: Sendable {
    /// Takes the next connection of a listener, as ``UnixSocket/accept()``.
    typealias AcceptCall = @Sendable (UnixSocket) throws(WireError) -> UnixSocket

    private let listener: UnixSocket
    private let handler: any ConnectionHandler
    private let clientLimit: Atomic<Int>
    private let logger: Logger
    private let acceptCall: AcceptCall
    private let wake: WakeSignal
    private let state = Guarded(.leaf, State())

    private struct State {
        var thread: RuntimeThread?
        var isStopping = false
        var question: (@Sendable () -> Void)?
    }

    /// Serves `listener`, which must not block.
    ///
    /// - Throws: EMFILE or ENFILE.
    public convenience init(
        listener: UnixSocket, handler: any ConnectionHandler, maximumClients: Int, logger: Logger
    ) throws(Errno) {
        try self.init(
            listener: listener, handler: handler, maximumClients: maximumClients, logger: logger
        ) { (listener) throws(WireError) in try listener.accept() }
    }

    init(
        listener: UnixSocket, handler: any ConnectionHandler, maximumClients: Int,
        logger: Logger, acceptCall: @escaping AcceptCall
    ) throws(Errno) {
        self.listener = listener
        self.handler = handler
        clientLimit = Atomic(maximumClients)
        self.logger = logger
        self.acceptCall = acceptCall
        wake = try WakeSignal()
    }

    /// Starts the thread, once.
    ///
    /// - Throws: EAGAIN when the system refuses another thread.
    public func start() throws(Errno) {
        let thread = RuntimeThread.start(name: "gpuvm-accept") { [self] in run() }
        guard let thread else { throw .resourceTemporarilyUnavailable }
        state.withLock { $0.thread = thread }
    }

    /// Connections at a time; those that are open above a lower limit stay.
    var maximumClients: Int {
        get { clientLimit.load(ordering: .relaxed) }
        set { clientLimit.store(newValue, ordering: .relaxed) }
    }

    /// Has the thread run `answer` once it comes round and the handler can be asked something: a
    /// sign that newcomers would be served. Never waits; a question that waits gives way.
    func answer(_ answer: @escaping @Sendable () -> Void) {
        let old = state.withLock { state in
            defer { state.question = answer }
            return state.question
        }
        withExtendedLifetime(old) {}
        wake.wake()
    }

    private func answerQuestion() {
        let question = state.withLock { state in
            defer { state.question = nil }
            return state.question
        }
        guard let question else { return }
        _ = handler.sessionCount
        question()
    }

    /// Takes no further connection; returns when the thread has ended.
    public func stop() {
        let thread = state.withLock { state in
            state.isStopping = true
            defer { state.thread = nil }
            return state.thread
        }
        wake.wake()
        thread?.join()
    }

    private func run() {
        var spare = SpareDescriptor()
        var isBlocked = false
        while !state.withLock({ $0.isStopping }) {
            var descriptors = (
                pollfd(fd: wake.rawValue, events: Int16(POLLIN), revents: 0),
                pollfd(fd: listener.rawValue, events: Int16(POLLIN), revents: 0)
            )
            // A backlog that cannot be emptied keeps the listener readable: look again later.
            let ready = withUnsafeMutableBytes(of: &descriptors) { bytes in
                poll(
                    bytes.assumingMemoryBound(to: pollfd.self).baseAddress, isBlocked ? 1 : 2,
                    isBlocked ? Self.retryMilliseconds : -1)
            }
            guard ready >= 0 else { continue }
            if descriptors.0.revents != 0 {
                wake.drain()
                answerQuestion()
            }
            guard isBlocked || descriptors.1.revents != 0 else { continue }
            let reason = acceptAll(&spare)
            if let reason, !isBlocked {
                logger.error("connections have to wait", metadata: ["error": "\(reason)"])
            }
            isBlocked = reason != nil
        }
    }

    private static let retryMilliseconds: Int32 = 100

    /// Empties the backlog; what hindered it, or nil.
    private func acceptAll(_ spare: inout SpareDescriptor) -> WireError? {
        spare.hold()
        while !state.withLock({ $0.isStopping }) {
            do throws(WireError) {
                hand(over: try acceptCall(listener))
            } catch {
                switch error.code {
                case .resourceTemporarilyUnavailable:
                    return nil
                case .tooManyOpenFiles, .tooManyOpenFilesInSystem:
                    guard spare.isHeld else { return error }
                    do throws(WireError) {
                        guard try refuseOne(&spare, error.code) else { return nil }
                    } catch {
                        return error
                    }
                default:
                    return error
                }
            }
        }
        return nil
    }

    private func hand(over socket: UnixSocket) {
        let count = handler.sessionCount
        let maximumClients = maximumClients
        guard count < maximumClients else {
            logger.warning(
                "connection refused: limits.max_clients reached",
                metadata: ["client": peer(of: socket), "max_clients": "\(maximumClients)"])
            socket.shutdown()
            return
        }
        do throws(WireError) {
            let credentials = try socket.peerCredentials()
            handler.accept(socket, credentials: credentials)
        } catch {
            logger.warning("connection refused", metadata: ["error": "\(error)"])
            socket.shutdown()
        }
    }

    /// Spends the spare descriptor on a connection; false if there is none any more.
    private func refuseOne(
        _ spare: inout SpareDescriptor, _ reason: Errno
    ) throws(WireError) -> Bool {
        spare.release()
        do throws(WireError) {
            // The connection's descriptor is the spare's: it is closed before the spare is retaken.
            refuse(try acceptCall(listener), reason)
            spare.hold()
            return true
        } catch {
            spare.hold()
            if error.code == .resourceTemporarilyUnavailable { return false }
            throw error
        }
    }

    private func refuse(_ socket: consuming UnixSocket, _ reason: Errno) {
        logger.warning(
            "connection refused: no file descriptor left",
            metadata: ["client": peer(of: socket), "error": "\(reason)"])
        socket.shutdown()
    }

    private func peer(of socket: UnixSocket) -> Logger.MetadataValue {
        do throws(WireError) {
            return "pid \(try socket.peerCredentials().pid)"
        } catch {
            return "unknown"
        }
    }
}
