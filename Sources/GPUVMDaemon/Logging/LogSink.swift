import Fencing
import Glibc
import Logging
import Synchronization

/// Where all log lines of a process go: a file descriptor, a form, a level, and a limit for each
/// client.
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

    private let output: LogOutput
    private let limiter: Guarded<LogRateLimiter>
    private let monotonicClock: @Sendable () -> UInt64
    /// An index of ``levels``.
    private let levelIndex: Atomic<Int>

    /// Writes to `fd`, which stays the caller's.
    ///
    /// - Parameters:
    ///   - level: Lines below it are not written.
    ///   - clientLinesPerSecond: What one client may cause.
    ///   - environment: JOURNAL_STREAM is looked for here.
    ///   - journalPath: Where the journal takes records with fields.
    public convenience init(
        fd: Int32 = STDERR_FILENO, format: LogFormat, level: Logger.Level = .info,
        clientLinesPerSecond: Int, environment: [String: String],
        journalPath: String = "/run/systemd/journal/socket"
    ) {
        let leadsToJournal = JournalStream.leads(fd, environment: environment)
        let form: LogOutput.Form =
            switch format {
            case .auto where !leadsToJournal, .plain: .plain
            case .auto, .journal:
                // A line in a file or a pipe would not be found in the journal of this machine.
                if leadsToJournal, let journal = JournalSocket(path: journalPath) {
                    .journal(journal)
                } else {
                    .prefixed
                }
            }
        self.init(
            fd: fd, form: form, level: level, clientLinesPerSecond: clientLinesPerSecond,
            wallClock: WallTime.now, monotonicClock: Runtime.now)
    }

    init(
        fd: Int32, form: LogOutput.Form, level: Logger.Level = .trace, clientLinesPerSecond: Int,
        wallClock: @escaping @Sendable () -> WallTime,
        monotonicClock: @escaping @Sendable () -> UInt64
    ) {
        output = LogOutput(fd: fd, form: form, wallClock: wallClock)
        limiter = Guarded(.leaf, LogRateLimiter(linesPerSecond: clientLinesPerSecond))
        self.monotonicClock = monotonicClock
        levelIndex = Atomic(Self.index(level))
    }

    /// Lines below it are not written, but those of loggers with a level of their own.
    public var level: Logger.Level {
        get { Self.levels[levelIndex.load(ordering: .relaxed)] }
        set { levelIndex.store(Self.index(newValue), ordering: .relaxed) }
    }

    /// Made once: asking for the level allocates nothing.
    private static let levels = Logger.Level.allCases

    private static func index(_ level: Logger.Level) -> Int {
        levels.firstIndex(of: level) ?? 0
    }

    /// Lines that one client may cause in a second; windows that are open go on under it.
    public var clientLinesPerSecond: Int {
        get { limiter.withLock { $0.linesPerSecond } }
        set { limiter.withLock { $0.linesPerSecond = newValue } }
    }

    /// Writes a record, unless its client has had its share.
    ///
    /// Lines below `info` are there because somebody asked for all of them, `critical` ones must
    /// not be lost: neither is limited.
    func write(_ record: LogRecord) {
        let isLimited = record.level >= .info && record.level < .critical
        let now = monotonicClock()
        let client = record.client
        let (admitted, summaries) = limiter.withLock { limiter in
            let summaries = limiter.summaries(now: now)
            guard let client, isLimited else { return (true, summaries) }
            return (limiter.admits(client, now: now), summaries)
        }
        report(summaries)
        if admitted { output.emit(record) }
    }

    /// Tells what was left out so far; at the end of the process.
    public func flush() {
        report(limiter.withLock { $0.summaries(now: .max) })
    }

    private func report(_ summaries: [LogRateLimiter.Summary]) {
        for summary in summaries {
            output.emit(
                LogRecord(
                    level: .warning, label: "gpuvmd", message: "log lines of a client left out",
                    metadata: ["client": "\(summary.client)", "lines": "\(summary.suppressed)"]))
        }
    }
}
