import CPlatform
import Device
import Fencing
import Logging
import Synchronization
import WireProtocol

/// All connections of a daemon to one device.
///
/// Threading: every method may be called from any thread.
public final class SessionServer: ConnectionHandler {
    struct Counters: ~Copyable {
        let requests = Atomic<UInt64>(0)
        let failedRequests = Atomic<UInt64>(0)
    }

    let device: Device
    let logger: Logger
    let name: String
    let fenceFiles: FenceFDRegistry
    let eventFDs: EventFDSignaller
    let counters = Counters()
    /// Open files of the DRM shim and what they came to.
    let files: DRMFileList
    /// Who watches them.
    let observers: DRMObservers
    /// The device as open files of the DRM shim see it.
    public let nouveau: NouveauDevice

    /// What holds for connections from now on.
    let policy: Guarded<SessionPolicy>
    private let connections = ConnectionPacer()
    /// CLOCK_MONOTONIC ns.
    private let lastTrim = Atomic<UInt64>(0)

    private struct State {
        var sessions: [UInt64: Session] = [:]
        /// Connections that are told that they are refused.
        var refused: [UInt64: RefusedConnection] = [:]
        var lastID: UInt64 = 0
        var isShutDown = false
    }

    private let state = Guarded(.daemon, State())
    private let changed = Condition()

    /// Serves `device` under the name that HELLO answers.
    ///
    /// - Parameters:
    ///   - reactor: Watches the descriptors of exported fences.
    ///   - eventFDs: Signals clients' eventfds.
    ///   - model: What open files of the DRM shim take the device for.
    public convenience init(
        device: Device, name: String, logger: Logger, reactor: Reactor,
        eventFDs: EventFDSignaller, model: NouveauModel = .tu104
    ) {
        self.init(
            device: device, name: name, logger: logger, reactor: reactor, eventFDs: eventFDs,
            model: model, files: DRMFileList(), observers: DRMObservers(),
            policy: SessionPolicy(DaemonConfiguration()))
    }

    init(
        device: Device, name: String, logger: Logger, reactor: Reactor,
        eventFDs: EventFDSignaller, model: NouveauModel, files: DRMFileList,
        observers: DRMObservers, policy: SessionPolicy
    ) {
        self.policy = Guarded(.leaf, policy)
        self.files = files
        self.observers = observers
        self.device = device
        self.eventFDs = eventFDs
        self.name = name
        self.logger = logger
        fenceFiles = ReactorFenceMonitor.registry(on: reactor)
        nouveau = NouveauDevice(
            device, model: model, fenceFiles: fenceFiles, eventFDs: eventFDs)
    }

    /// The number of open connections.
    public var sessionCount: Int { state.withLock { $0.sessions.count } }

    /// Starts a session for a connection that was accepted, or has it refused.
    public func accept(_ socket: UnixSocket, credentials: UnixSocket.Credentials) {
        let policy = policy.withLock { $0 }
        let standing = policy.access.standing(of: credentials) { () throws(WireError) in
            try socket.peerGroups()
        }
        guard standing != .refused else {
            return refuse(socket, credentials, .notAllowed)
        }
        enum Start {
            case session(Session)
            case tooMany
            case shutDown
        }
        let isPrivileged = standing == .privileged
        var delay: UInt64 = 0
        if !isPrivileged {
            guard let wait = connections.take(credentials.uid, at: Runtime.now()) else {
                logger.warning(
                    "connection refused: the user connects too fast",
                    metadata: [
                        "client": "uid \(credentials.uid)", "uid": "\(credentials.uid)",
                        "pid": "\(credentials.pid)",
                    ])
                return socket.shutdown()
            }
            delay = wait
        }
        let start: Start = state.withLock { state in
            guard !state.isShutDown else { return .shutDown }
            if !isPrivileged {
                let others = state.sessions.values.count {
                    $0.credentials.uid == credentials.uid && !$0.isPrivileged
                }
                guard others < policy.clientsPerUser else { return .tooMany }
            }
            state.lastID += 1
            let session = Session(
                id: state.lastID, socket: socket, credentials: credentials, server: self,
                isPrivileged: isPrivileged, policy: policy, delay: delay)
            state.sessions[state.lastID] = session
            return .session(session)
        }
        switch start {
        case .session(let session): run(session)
        case .tooMany: refuse(socket, credentials, .tooManyOfUser(policy.clientsPerUser))
        case .shutDown: socket.shutdown()
        }
    }

    private func run(_ session: Session) {
        let thread = RuntimeThread.start(name: "gpuvm-session") { session.run() }
        guard let thread else {
            logger.error("connection refused: the system has no thread left")
            session.socket.shutdown()
            remove(session)
            return
        }
        thread.detach()
    }

    /// Has a connection told why it is refused, unless many are being told already.
    private func refuse(
        _ socket: UnixSocket, _ credentials: UnixSocket.Credentials,
        _ reason: RefusedConnection.Reason
    ) {
        logger.warning(
            "connection refused: \(reason.summary)",
            metadata: [
                // One user's lines are limited together, however many processes he starts.
                "client": "uid \(credentials.uid)", "uid": "\(credentials.uid)",
                "gid": "\(credentials.gid)", "pid": "\(credentials.pid)",
            ])
        let refused = RefusedConnection(socket, reason)
        let id: UInt64? = state.withLock { state in
            guard !state.isShutDown, state.refused.count < RefusedConnection.maximum else {
                return nil
            }
            state.lastID += 1
            state.refused[state.lastID] = refused
            return state.lastID
        }
        guard let id else { return socket.shutdown() }
        let thread = RuntimeThread.start(name: "gpuvm-refusal") { [self] in
            refused.answer()
            forget(id)
        }
        guard let thread else {
            socket.shutdown()
            return forget(id)
        }
        thread.detach()
    }

    private func forget(_ refused: UInt64) {
        // The socket is closed after the lock.
        let gone = state.withLock { state in state.refused.removeValue(forKey: refused) }
        withExtendedLifetime(gone) {}
        changed.broadcast()
    }

    /// Stops the device, cuts all connections and returns when their clients have been cleaned up.
    ///
    /// - Parameter graceful: Whether what runs, is runnable or waits in memory may finish, no longer
    ///   than the device's job time-out. Jobs behind fences that have not signalled are cancelled.
    public func shutdown(graceful: Bool) {
        if !graceful { for client in device.clients { client.cancelJobs() } }
        device.shutdown(
            deadline: graceful ? Runtime.deadline(after: device.jobTimeout) : 0)
        let sockets = state.withLock { state in
            state.isShutDown = true
            return state.sessions.values.map(\.socket) + state.refused.values.map(\.socket)
        }
        for socket in sockets { socket.shutdown() }
        _ = state.wait(on: changed) { $0.sessions.isEmpty && $0.refused.isEmpty ? true : nil }
    }

    /// Gives what the clients that went have left in the heap back to the system, now and then: each of
    /// the C library's arenas would keep the most that its clients ever had. From the thread of a
    /// session that has ended.
    func trimHeap() {
        let now = Runtime.now()
        let last = lastTrim.load(ordering: .relaxed)
        guard now > last &+ Self.trimInterval,
            lastTrim.compareExchange(expected: last, desired: now, ordering: .relaxed).exchanged
        else { return }
        gpuvm_trim_heap()
    }

    /// It takes some milliseconds, during which others may wait for their arena.
    private static let trimInterval: UInt64 = 5_000_000_000

    func remove(_ session: Session) {
        state.withLock { state in _ = state.sessions.removeValue(forKey: session.id) }
        changed.broadcast()
    }
}
