import Fencing
import Glibc
import Logging

/// Where all log lines of a process go: a file descriptor, a form, and a limit for each client.
///
/// A line is one write(2), so that lines of several threads do not mix in a pipe or a terminal.
///
/// Threading: any thread, with any lock held but one of class `leaf`.
public final class LogSink: Sendable {
    /// Wall-clock time as it is printed.
    public struct WallTime: Sendable {
        /// Seconds since 1970-01-01T00:00:00Z.
        public var seconds: Int
        /// Microseconds within the second.
        public var microseconds: Int

        /// The system's time.
        public static func now() -> WallTime {
            var time = timeval()
            gettimeofday(&time, nil)
            return WallTime(seconds: time.tv_sec, microseconds: Int(time.tv_usec))
        }
    }

    private let fd: Int32
    private let usesJournalPrefix: Bool
    private let limiter: Guarded<LogRateLimiter>
    private let wallClock: @Sendable () -> WallTime
    private let monotonicClock: @Sendable () -> UInt64

    /// Writes to `fd`, which stays the caller's.
    ///
    /// - Parameters:
    ///   - environment: JOURNAL_STREAM is looked for here.
    ///   - clientLinesPerSecond: What one client may cause.
    public convenience init(
        fd: Int32 = STDERR_FILENO, format: LogFormat, clientLinesPerSecond: Int,
        environment: [String: String]
    ) {
        let usesJournalPrefix =
            switch format {
            case .plain: false
            case .journal: true
            case .auto: JournalStream.leads(fd, environment: environment)
            }
        self.init(
            fd: fd, usesJournalPrefix: usesJournalPrefix,
            clientLinesPerSecond: clientLinesPerSecond, wallClock: WallTime.now,
            monotonicClock: Runtime.now)
    }

    init(
        fd: Int32, usesJournalPrefix: Bool, clientLinesPerSecond: Int,
        wallClock: @escaping @Sendable () -> WallTime,
        monotonicClock: @escaping @Sendable () -> UInt64
    ) {
        self.fd = fd
        self.usesJournalPrefix = usesJournalPrefix
        limiter = Guarded(.leaf, LogRateLimiter(linesPerSecond: clientLinesPerSecond))
        self.wallClock = wallClock
        self.monotonicClock = monotonicClock
    }

    /// Writes a line, unless its client has had its share.
    ///
    /// Lines below `info` are there because somebody asked for all of them, `critical` ones must
    /// not be lost: neither is limited.
    func write(level: Logger.Level, client: String?, text: String) {
        let isLimited = level >= .info && level < .critical
        let now = monotonicClock()
        let (admitted, summaries) = limiter.withLock { limiter in
            let summaries = limiter.summaries(now: now)
            guard let client, isLimited else { return (true, summaries) }
            return (limiter.admits(client, now: now), summaries)
        }
        report(summaries)
        if admitted { emit(level, text) }
    }

    /// Tells what was left out so far; at the end of the process.
    public func flush() {
        report(limiter.withLock { $0.summaries(now: .max) })
    }

    private func report(_ summaries: [LogRateLimiter.Summary]) {
        for summary in summaries {
            let text = LogLine.text(
                label: "gpuvmd", message: "log lines of a client left out",
                metadata: ["client": "\(summary.client)", "lines": "\(summary.suppressed)"])
            emit(.warning, text)
        }
    }

    private func emit(_ level: Logger.Level, _ text: String) {
        let prefix =
            usesJournalPrefix
            ? "<\(Self.priority(level))>" : "\(Self.timestamp(wallClock())) \(level.rawValue) "
        var line = prefix + text + "\n"
        line.withUTF8 { bytes in
            var rest = UnsafeRawBufferPointer(bytes)
            while !rest.isEmpty {
                let written = Glibc.write(fd, rest.baseAddress, rest.count)
                if written < 0 {
                    if errno == EINTR { continue }
                    // Nobody is left to be told.
                    return
                }
                rest = UnsafeRawBufferPointer(rebasing: rest[written...])
            }
        }
    }

    /// The priorities of syslog(3), which the journal reads.
    private static func priority(_ level: Logger.Level) -> Int32 {
        switch level {
        case .trace, .debug: LOG_DEBUG
        case .info: LOG_INFO
        case .notice: LOG_NOTICE
        case .warning: LOG_WARNING
        case .error: LOG_ERR
        case .critical: LOG_CRIT
        }
    }

    /// ISO 8601 in UTC with milliseconds.
    private static func timestamp(_ time: WallTime) -> String {
        var seconds = time.seconds
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func padded(_ value: some BinaryInteger, _ width: Int) -> String {
            let digits = "\(value)"
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        let date =
            "\(padded(parts.tm_year + 1900, 4))-\(padded(parts.tm_mon + 1, 2))-\(padded(parts.tm_mday, 2))"
        let clock =
            "\(padded(parts.tm_hour, 2)):\(padded(parts.tm_min, 2)):\(padded(parts.tm_sec, 2))"
        return "\(date)T\(clock).\(padded(time.microseconds / 1000, 3))Z"
    }
}
