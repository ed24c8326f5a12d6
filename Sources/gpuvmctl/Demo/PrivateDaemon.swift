import Fencing
import Glibc
import SystemPackage
import WireProtocol

/// A daemon for one demo, with its socket in a directory of its own.
///
/// Threading: one thread.
final class PrivateDaemon {
    /// Where it listens.
    let socketPath: String
    private let directory: String
    private let process: ChildProcess
    private var hasEnded = false

    /// How long a daemon may take to listen, ns.
    private static let patience: UInt64 = 20_000_000_000

    /// Starts the gpuvmd that lies beside this program and waits until it accepts.
    ///
    /// - Parameter configuration: YAML sections beside that of the log.
    /// - Throws: ENOENT when there is none; ETIMEDOUT, or EPIPE with the end of its log, when it
    ///   does not come up.
    static func start(configuration: String = "") throws(WireError) -> PrivateDaemon {
        guard let own = ChildProcess.ownPath(), let slash = own.lastIndex(of: "/") else {
            throw WireError(.noSuchFileOrDirectory, "the path of this program is unknown")
        }
        let binary = own[..<slash] + "/gpuvmd"
        guard access(String(binary), X_OK) == 0 else {
            throw WireError(
                .noSuchFileOrDirectory,
                """
                no gpuvmd is running and there is none to start at \(binary): build it with \
                `swift build`, or start one
                """)
        }
        return try PrivateDaemon(String(binary), configuration)
    }

    private init(_ binary: String, _ configuration: String) throws(WireError) {
        let temporary = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(temporary)/gpuvmctl-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw WireError(
                .init(rawValue: errno), "a directory in \(temporary) cannot be made")
        }
        directory = template.withUnsafeBytes { String(decoding: $0.dropLast(), as: UTF8.self) }
        socketPath = "\(directory)/gpuvmd.sock"
        do throws(WireError) {
            process = try Self.launch(binary, directory, socketPath, configuration)
        } catch {
            Self.remove(directory)
            throw error
        }
    }

    deinit {
        stop()
    }

    /// Ends the daemon and removes its directory.
    ///
    /// - Returns: How it ended; nil if it had been stopped before.
    @discardableResult
    func stop() -> ChildProcess.Exit? {
        guard !hasEnded else { return nil }
        hasEnded = true
        process.terminate()
        let exit = process.wait()
        Self.remove(directory)
        return exit
    }

    private static func launch(
        _ binary: String, _ directory: String, _ socketPath: String, _ settings: String
    ) throws(WireError) -> ChildProcess {
        let configuration = "\(directory)/gpuvmd.yaml"
        let written = write("log:\n  level: warning\n" + settings, to: configuration)
        let log = open("\(directory)/gpuvmd.log", O_CREAT | O_RDWR | O_CLOEXEC, 0o600)
        guard written, log >= 0 else {
            throw WireError(.ioError, "the daemon's files in \(directory) cannot be written")
        }
        defer { close(log) }
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw WireError(.tooManyOpenFiles, "no pipe can be made") }
        let readyEnd = OwnedFD(ends[0])
        // This process has one thread: nobody forks between pipe(2) and here.
        _ = fcntl(readyEnd.rawValue, F_SETFD, FD_CLOEXEC)
        let process = try spawn(
            binary, socketPath, configuration, log: log, notifying: OwnedFD(ends[1]))
        do throws(WireError) {
            try waitUntilReady(readyEnd, log)
        } catch {
            process.terminate()
            _ = process.wait()
            throw error
        }
        return process
    }

    /// The descriptor is closed here on return, so that only the daemon holds the writing end.
    private static func spawn(
        _ binary: String, _ socketPath: String, _ configuration: String, log: Int32,
        notifying fd: consuming OwnedFD
    ) throws(WireError) -> ChildProcess {
        _ = fcntl(fd.rawValue, F_SETFD, FD_CLOEXEC)
        return try ChildProcess(
            binary, ["--socket", socketPath, "--config", configuration, "--ready-fd", "3"],
            fds: [(STDERR_FILENO, log), (3, fd.rawValue)])
    }

    private static func waitUntilReady(
        _ fd: borrowing OwnedFD, _ log: Int32
    ) throws(WireError) {
        let deadline = Runtime.deadline(after: patience)
        while true {
            let now = Runtime.now()
            guard now < deadline else {
                throw WireError(
                    .timedOut, "the daemon did not come up in time\(tail(of: log))")
            }
            var descriptor = pollfd(fd: fd.rawValue, events: Int16(POLLIN), revents: 0)
            let milliseconds = Int32((deadline - now) / 1_000_000 + 1)
            guard Glibc.poll(&descriptor, 1, milliseconds) > 0 else { continue }
            var text = [UInt8](repeating: 0, count: 16)
            let count = read(fd.rawValue, &text, text.count)
            if count > 0, text.starts(with: "ready".utf8) { return }
            throw WireError(.brokenPipe, "the daemon ended before it listened\(tail(of: log))")
        }
    }

    /// The last lines of the daemon's log, to be put behind an error.
    private static func tail(of log: Int32) -> String {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let end = lseek(log, 0, SEEK_END)
        let count = buffer.withUnsafeMutableBytes { raw in
            pread(log, raw.baseAddress, raw.count, max(0, end - off_t(raw.count)))
        }
        guard count > 0 else { return "" }
        let lines = String(decoding: buffer.prefix(count), as: UTF8.self).split(separator: "\n")
        return ": " + lines.suffix(3).joined(separator: " / ")
    }

    private static func write(_ text: String, to path: String) -> Bool {
        let fd = open(path, O_CREAT | O_WRONLY | O_EXCL | O_CLOEXEC, 0o600)
        guard fd >= 0 else { return false }
        defer { close(fd) }
        let bytes = Array(text.utf8)
        return Glibc.write(fd, bytes, bytes.count) == bytes.count
    }

    private static func remove(_ directory: String) {
        for name in ["gpuvmd.sock", "gpuvmd.sock.lock", "gpuvmd.yaml", "gpuvmd.log"] {
            unlink("\(directory)/\(name)")
        }
        rmdir(directory)
    }
}
