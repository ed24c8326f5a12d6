import Fencing
import Glibc
import Logging
import SystemPackage
import WireProtocol

/// A whole daemon: lock, socket, acceptor, reactor, and the handler of its connections.
///
/// It runs in a process of its own (``DaemonMain``) or in anybody's, a test's for example: nothing
/// in it is global but the limit of descriptors, which it raises.
///
/// Threading: any thread. ``stop(graceful:)`` returns when everything is released; a daemon that is
/// dropped while it runs goes on running.
public final class Daemon: Sendable {
    /// Where the daemon listens.
    public let socketPath: String
    /// The daemon's log.
    public let logger: Logger

    let notifier: ServiceNotifier
    private let makeHandler: ConnectionHandlerFactory
    private let sink: LogSink?
    private let watchdogPeriod: UInt64?
    private let inForce: Guarded<DaemonConfiguration>
    private let activated: Guarded<OwnedFD?>
    private let phase = Guarded(.daemon, Phase.idle)
    private let phaseChanged = Condition()

    private enum Phase {
        case idle
        case starting
        case running(Running)
        case stopping(Running)
        case stopped
    }

    /// Parts of a running daemon, each of which synchronises itself.
    private final class Running: Sendable {
        let handler: any ConnectionHandler
        let acceptor: Acceptor
        let reactor: Reactor
        let listener: Guarded<ListeningSocket?>
        let lock: Guarded<SocketLock?>
        /// RLIMIT_NOFILE.
        let descriptors: Int

        init(
            handler: any ConnectionHandler, acceptor: Acceptor, reactor: Reactor,
            listener: consuming sending ListeningSocket, lock: consuming sending SocketLock,
            descriptors: Int
        ) {
            self.handler = handler
            self.acceptor = acceptor
            self.reactor = reactor
            self.listener = Guarded(.leaf, listener)
            self.lock = Guarded(.leaf, lock)
            self.descriptors = descriptors
        }
    }

    /// Prepares a daemon; nothing happens before ``start()``.
    ///
    /// - Parameters:
    ///   - socketPath: Overrides GPUVM_SOCKET and the configuration; with `activated`, its path.
    ///   - environment: Of the process, or a test's.
    ///   - sink: What is behind `logger`, if a reload may change it.
    ///   - activated: The listening socket that a service manager passed, instead of a path.
    ///   - makeHandler: Makes whoever serves the connections.
    public init(
        configuration: DaemonConfiguration, socketPath: String? = nil, logger: Logger,
        sink: LogSink? = nil, environment: [String: String] = [:],
        activated: consuming OwnedFD? = nil,
        makeHandler: @escaping ConnectionHandlerFactory
    ) {
        inForce = Guarded(.leaf, configuration)
        self.socketPath = SocketLocation.resolve(
            option: socketPath, configured: configuration.socket.path, environment: environment)
        self.logger = logger
        self.makeHandler = makeHandler
        self.sink = sink
        notifier = ServiceNotifier(environment: environment)
        watchdogPeriod = WatchdogPeriod.nanoseconds(
            environment: environment, processID: getpid())
        self.activated = Guarded(.leaf, activated)
    }

    /// Takes the lock, starts the device, binds the socket and accepts connections.
    ///
    /// On an error everything is as it was, and a socket of another daemon was not touched.
    public func start() throws(DaemonError) {
        let isFirst = phase.withLock { phase in
            guard case .idle = phase else { return false }
            phase = .starting
            return true
        }
        guard isFirst else { throw .alreadyStarted }
        do throws(DaemonError) {
            let running = try bringUp()
            phase.withLock { $0 = .running(running) }
        } catch {
            phase.withLock { $0 = .stopped }
            phaseChanged.broadcast()
            throw error
        }
        phaseChanged.broadcast()
        notifier.ready(status: "Serving \(configuration.device.name) on \(socketPath)")
        logger.info(
            "listening",
            metadata: ["socket": "\(socketPath)", "device": "\(configuration.device.name)"])
    }

    /// Ends the daemon and returns when nothing of it is left.
    ///
    /// The socket's name goes first, so that nobody connects to a daemon that ends.
    ///
    /// - Parameter graceful: Whether submitted jobs may finish. A call with false makes a graceful
    ///   stop that is under way stop waiting.
    public func stop(graceful: Bool = true) {
        let (toStop, toHurry): (Running?, Running?) = phase.withLock { phase in
            switch phase {
            case .running(let running):
                phase = .stopping(running)
                return (running, nil)
            case .stopping(let running):
                return (nil, running)
            case .idle:
                phase = .stopped
                return (nil, nil)
            case .starting, .stopped:
                return (nil, nil)
            }
        }
        if let toStop {
            tearDown(toStop, graceful: graceful)
            phase.withLock { $0 = .stopped }
            phaseChanged.broadcast()
            logger.info("stopped", metadata: ["socket": "\(socketPath)"])
            return
        }
        if let toHurry, !graceful { toHurry.handler.shutdown(graceful: false) }
        let mustStop = phase.wait(on: phaseChanged) { phase -> Bool? in
            switch phase {
            case .stopped: false
            case .running: true
            case .idle, .starting, .stopping: nil
            }
        }
        // It was starting when it was told to stop.
        if mustStop == true { stop(graceful: graceful) }
    }

    /// The configuration in force: as given, and as reloads have changed it.
    public var configuration: DaemonConfiguration { inForce.withLock { $0 } }

    /// Whether clients can connect.
    var isRunning: Bool { running != nil }

    private var running: Running? {
        phase.withLock { phase in
            guard case .running(let running) = phase else { return nil }
            return running
        }
    }

    /// Goes on with a configuration that differs from the one in force in keys alone that a running
    /// daemon can change.
    func apply(_ configuration: DaemonConfiguration) {
        guard let running else { return }
        inForce.withLock { $0 = configuration }
        sink?.level = configuration.log.level
        sink?.clientLinesPerSecond = configuration.log.clientLinesPerSecond
        running.acceptor.maximumClients = configuration.limits.maxClients
        running.handler.reconfigure(effective(configuration, running.descriptors))
    }

    private func bringUp() throws(DaemonError) -> Running {
        // The lock comes before all else: a second daemon leaves at once.
        let lock = try takeLock()
        let descriptors: Int
        let reactor: Reactor
        do throws(Errno) {
            descriptors = try DescriptorLimit.raise()
            reactor = try Reactor()
        } catch {
            throw .resources(error)
        }
        do throws(Errno) { try reactor.start() } catch { throw .resources(error) }
        let handler: any ConnectionHandler
        do {
            handler = try makeHandler(
                DaemonServices(
                    configuration: effective(configuration, descriptors), logger: logger,
                    reactor: reactor))
        } catch {
            reactor.stop()
            throw .device(error)
        }
        do throws(DaemonError) {
            try writeDeviceTree()
            let listener = try listen(lock)
            let acceptor = try accept(from: listener.socket, handler)
            feedWatchdog(reactor, acceptor)
            return Running(
                handler: handler, acceptor: acceptor, reactor: reactor, listener: listener,
                lock: lock, descriptors: descriptors)
        } catch {
            handler.shutdown(graceful: false)
            reactor.stop()
            DeviceTree.remove(deviceTreePath)
            throw error
        }
    }

    /// What of a configuration the system grants.
    private func effective(
        _ configuration: DaemonConfiguration, _ descriptors: Int
    ) -> DaemonConfiguration {
        let effective = configuration.fitted(toDescriptorLimit: descriptors)
        guard effective != configuration else { return configuration }
        logger.notice(
            """
            quotas lowered: one client may take half of the file descriptors that the system \
            grants
            """,
            metadata: [
                "descriptors": "\(descriptors)",
                "bos": "\(effective.quotas.bos) of \(configuration.quotas.bos)",
                "fence_fds": """
                \(effective.quotas.fenceDescriptors) of \
                \(configuration.quotas.fenceDescriptors)
                """,
            ])
        return effective
    }

    /// Lets each sign of life go through the loops that serve clients, one after the other: a thread
    /// of its own would go on telling the manager that all is well.
    private func feedWatchdog(_ reactor: Reactor, _ acceptor: Acceptor) {
        guard let watchdogPeriod else { return }
        reactor.beat(every: watchdogPeriod) { [notifier] in
            acceptor.answer { notifier.alive() }
        }
    }

    private var deviceTreePath: String { DeviceTree.path(besideSocket: socketPath) }

    /// Before the socket is there: who can connect finds the device.
    private func writeDeviceTree() throws(DaemonError) {
        do throws(Errno) {
            try DeviceTree.write(configuration.device.model.nouveau, to: deviceTreePath)
        } catch {
            throw .resources(error)
        }
    }

    private func takeLock() throws(DaemonError) -> SocketLock {
        do throws(SocketError) {
            let bytes = socketPath.utf8.count
            guard bytes <= SocketLocation.maximumPathBytes else {
                throw .pathTooLong(path: socketPath, bytes: bytes)
            }
            try ListeningSocket.makeDirectory(
                forSocket: socketPath, mode: configuration.socket.mode)
            return try SocketLock(socketPath: socketPath)
        } catch {
            throw .socket(error)
        }
    }

    private func listen(_ lock: borrowing SocketLock) throws(DaemonError) -> ListeningSocket {
        do throws(SocketError) {
            if let fd = activated.withLock({ $0.take() }) {
                return try ListeningSocket.adopt(activated: fd)
            }
            return try ListeningSocket.bind(
                path: socketPath, mode: configuration.socket.mode,
                group: configuration.socket.group, lock: lock)
        } catch {
            throw .socket(error)
        }
    }

    private func accept(
        from listener: UnixSocket, _ handler: any ConnectionHandler
    ) throws(DaemonError) -> Acceptor {
        do throws(Errno) {
            let acceptor = try Acceptor(
                listener: listener, handler: handler,
                maximumClients: configuration.limits.maxClients, logger: logger)
            try acceptor.start()
            return acceptor
        } catch {
            throw .resources(error)
        }
    }

    private func tearDown(_ running: Running, graceful: Bool) {
        notifier.stopping(within: configuration.device.jobTimeout + Self.cleanUpTime)
        running.acceptor.stop()
        drop(running.listener.withLock { $0.take() })
        running.handler.shutdown(graceful: graceful)
        running.reactor.stop()
        DeviceTree.remove(deviceTreePath)
        // The lock goes last: whoever gets it may count on everything else being gone.
        drop(running.lock.withLock { $0.take() })
    }

    /// What the end may take beyond the jobs' time-out, ns.
    private static let cleanUpTime: UInt64 = 30_000_000_000

    /// Ends the life of what is moved in, here and not somewhere later in the caller.
    private func drop<Resource: ~Copyable>(_ resource: consuming Resource) {}
}
