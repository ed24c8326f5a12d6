import Device
import Fencing
import Glibc
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

    private struct State {
        var sessions: [UInt64: Session] = [:]
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
            model: model, files: DRMFileList(), observers: DRMObservers())
    }

    init(
        device: Device, name: String, logger: Logger, reactor: Reactor,
        eventFDs: EventFDSignaller, model: NouveauModel, files: DRMFileList,
        observers: DRMObservers
    ) {
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

    /// Starts a session for a connection that was accepted.
    public func accept(_ socket: UnixSocket, credentials: UnixSocket.Credentials) {
        let session: Session? = state.withLock { state in
            guard !state.isShutDown else { return nil }
            state.lastID += 1
            let session = Session(
                id: state.lastID, socket: socket, credentials: credentials, server: self)
            state.sessions[state.lastID] = session
            return session
        }
        guard let session else {
            socket.shutdown()
            return
        }
        let thread = RuntimeThread.start(name: "gpuvm-session") { session.run() }
        guard let thread else {
            logger.error("connection refused: the system has no thread left")
            socket.shutdown()
            remove(session)
            return
        }
        thread.detach()
    }

    /// Stops the device, cuts all connections and returns when their clients have been cleaned up.
    ///
    /// - Parameter graceful: Whether what runs, is runnable or waits in memory may finish, no longer
    ///   than the device's job time-out. Jobs behind fences that have not signalled are cancelled.
    public func shutdown(graceful: Bool) {
        if !graceful { for client in device.clients { client.cancelJobs() } }
        device.shutdown(
            deadline: graceful ? Runtime.deadline(after: device.configuration.jobTimeout) : 0)
        let sessions = state.withLock { state in
            state.isShutDown = true
            return Array(state.sessions.values)
        }
        for session in sessions { session.socket.shutdown() }
        _ = state.wait(on: changed) { $0.sessions.isEmpty ? true : nil }
    }

    func remove(_ session: Session) {
        state.withLock { state in _ = state.sessions.removeValue(forKey: session.id) }
        changed.broadcast()
    }

    /// Whether a peer may use high priority and see other clients: root, and the daemon's own user.
    func isPrivileged(_ credentials: UnixSocket.Credentials) -> Bool {
        credentials.uid == 0 || credentials.uid == geteuid()
    }
}
