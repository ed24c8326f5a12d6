import GPUVMDaemon
import Glibc
import Logging
import SystemPackage
import WireProtocol

/// A daemon for one run, in this process, with its socket in a directory of its own.
///
/// Threading: one thread.
final class InProcessDaemon {
    /// Where it listens.
    let socketPath: String
    private let directory: String
    private let daemon: Daemon
    private let sink: LogSink
    private var hasEnded = false

    /// Starts it; it accepts connections when this returns.
    ///
    /// - Parameters:
    ///   - configuration: The path of its socket is replaced.
    ///   - log: Where its log goes; stays the caller's.
    ///   - observers: Who watches the open files.
    ///   - willUse: Called with the directory before anything is in it.
    /// - Throws: Why there is no directory, or the daemon does not start.
    init(
        _ configuration: DaemonConfiguration, log: Int32, observers: DRMObservers,
        willUse: (String) -> Void
    ) throws {
        directory = try Self.makeDirectory()
        willUse(directory)
        socketPath = "\(directory)/socket"
        var configuration = configuration
        // Nobody else comes into the directory.
        configuration.socket.group = nil
        configuration.socket.mode = 0o600
        let sink = LogSink(
            fd: log, format: configuration.log.format,
            clientLinesPerSecond: configuration.log.clientLinesPerSecond, environment: [:])
        let level = configuration.log.level
        let logger = Logger(label: "gpuvmd") { label in
            TextLogHandler(label: label, level: level, sink: sink)
        }
        self.sink = sink
        daemon = Daemon(
            configuration: configuration, socketPath: socketPath, logger: logger
        ) { services in
            try DeviceSessions.make(services, observers: observers)
        }
        do {
            try daemon.start()
        } catch {
            Self.remove(directory, socketPath)
            throw error
        }
    }

    deinit { stop() }

    /// Ends the daemon, whoever still uses it, and removes the directory.
    func stop() {
        guard !hasEnded else { return }
        hasEnded = true
        daemon.stop(graceful: false)
        sink.flush()
        Self.remove(directory, socketPath)
    }

    /// A directory that only this user may enter.
    private static func makeDirectory() throws(WireError) -> String {
        // The path of a socket is short.
        let longest = 60
        let given = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        // Absolute: the program may go to another directory.
        let wanted = ShimEnvironment.canonical(given) ?? given
        let temporary = wanted.isEmpty || wanted.utf8.count > longest ? "/tmp" : wanted
        var template = Array("\(temporary)/gpuvmctl-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw WireError(
                Errno(rawValue: errno), "a directory in \(temporary) cannot be made")
        }
        return template.withUnsafeBytes { String(decoding: $0.dropLast(), as: UTF8.self) }
    }

    private static func remove(_ directory: String, _ socket: String) {
        for path in [socket, socket + ".lock"] { unlink(path) }
        rmdir(directory)
    }
}
