import Fencing
import FoundationEssentials
import Glibc
import Logging
import ServiceLifecycle
import WireProtocol

/// The process `gpuvmd`, but for its command line.
public enum DaemonMain {
    /// Does what `options` ask for and returns the process's exit status.
    ///
    /// Problems of the configuration go to standard error, one in a line.
    ///
    /// - Parameters:
    ///   - options: The command line.
    ///   - environment: The process's.
    ///   - makeHandler: Makes whoever serves the connections.
    public static func run(
        _ options: DaemonOptions,
        environment: [String: String] = ProcessInfo.processInfo.environment,
        makeHandler: @escaping ConnectionHandlerFactory
    ) async -> ExitStatus {
        let source = ConfigurationSource(options: options, environment: environment)
        let configuration: DaemonConfiguration
        let file: String?
        do throws(ConfigurationError) {
            (configuration, file) = try source.load()
        } catch {
            complain("\(error)")
            return .configuration
        }
        switch options.action {
        case .checkConfiguration:
            print("\(file ?? "built-in defaults"): OK")
            return .success
        case .printConfiguration:
            print(ConfigurationPrinter.yaml(configuration), terminator: "")
            return .success
        case .serve:
            return await serve(
                configuration, options, environment: environment,
                loadAgain: { () throws(ConfigurationError) in try source.reload(file: file) },
                makeHandler: makeHandler)
        }
    }

    private static func serve(
        _ configuration: DaemonConfiguration, _ options: DaemonOptions,
        environment: [String: String],
        loadAgain: @escaping @Sendable () throws(ConfigurationError) -> DaemonConfiguration,
        makeHandler: @escaping ConnectionHandlerFactory
    ) async -> ExitStatus {
        // A reader of a pipe or a socket that goes away is an error of that write, no more.
        signal(SIGPIPE, SIG_IGN)
        // So is a log that has reached the largest size of a file.
        signal(SIGXFSZ, SIG_IGN)
        let sink = LogSink(
            format: configuration.log.format, level: configuration.log.level,
            clientLinesPerSecond: configuration.log.clientLinesPerSecond,
            environment: environment)
        defer { sink.flush() }
        let logger = Logger(label: "gpuvmd") { label in
            TextLogHandler(label: label, sink: sink)
        }
        let ready = ReadyNotification(inherited: options.readyFD)
        if let number = options.readyFD, !ready.isArmed {
            complain("--ready-fd \(number): not a descriptor above 2 that is open for writing")
            return .usage
        }
        let daemon: Daemon
        do throws(SocketError) {
            daemon = try makeDaemon(
                configuration, options, logger, sink, environment: environment,
                makeHandler: makeHandler)
        } catch {
            logger.critical("gpuvmd does not start: \(error)")
            return DaemonError.socket(error).exitStatus
        }
        return await run(daemon, loadAgain) { ready.send() }
    }

    private static func makeDaemon(
        _ configuration: DaemonConfiguration, _ options: DaemonOptions, _ logger: Logger,
        _ sink: LogSink, environment: [String: String],
        makeHandler: @escaping ConnectionHandlerFactory
    ) throws(SocketError) -> Daemon {
        if let activated = try ListenFDs.take(environment: environment) {
            let path = try ListeningSocket.path(ofActivated: activated.rawValue)
            return Daemon(
                configuration: configuration, socketPath: path, logger: logger, sink: sink,
                environment: environment, activated: activated, makeHandler: makeHandler)
        }
        return Daemon(
            configuration: configuration, socketPath: options.socketPath, logger: logger,
            sink: sink, environment: environment, makeHandler: makeHandler)
    }

    private static func run(
        _ daemon: Daemon,
        _ loadAgain: @escaping @Sendable () throws(ConfigurationError) -> DaemonConfiguration,
        whenReady: @escaping @Sendable () -> Void
    ) async -> ExitStatus {
        let service = DaemonService(daemon: daemon, loadAgain: loadAgain, whenReady: whenReady)
        var group = ServiceGroupConfiguration(
            services: [
                .init(
                    service: service, successTerminationBehavior: .gracefullyShutdownGroup,
                    failureTerminationBehavior: .cancelGroup)
            ],
            gracefulShutdownSignals: [.sigterm, .sigint], logger: daemon.logger)
        // Its own state is of interest to those who debug it only.
        group.logger.logLevel = max(.info, daemon.logger.logLevel)
        do {
            try await ServiceGroup(configuration: group).run()
            return .success
        } catch let error as DaemonError {
            daemon.logger.critical("gpuvmd does not start: \(error)")
            return error.exitStatus
        } catch {
            daemon.logger.critical("gpuvmd ends: \(error)")
            return .software
        }
    }

    private static func complain(_ text: String) {
        let line = text + "\n"
        _ = line.withCString { write(STDERR_FILENO, $0, line.utf8.count) }
    }
}
