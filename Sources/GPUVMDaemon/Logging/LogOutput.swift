import Fencing
import Glibc
import Logging
import Synchronization

/// The end of the log: records become bytes and leave the process.
///
/// Threading: any thread, with any lock held but one of class `leaf`.
final class LogOutput: Sendable {
    /// What a record becomes.
    enum Form {
        /// Time, level and text.
        case plain
        /// A priority prefix and text, which whoever reads a service's output understands.
        case prefixed
        /// Fields, for the journal that the descriptor leads to as well.
        case journal(JournalSocket)
    }

    private let fd: Int32
    private let form: Form
    private let wallClock: @Sendable () -> LogSink.WallTime
    /// Records that a journal which did not keep up has not got.
    private let lost = Atomic<UInt64>(0)

    /// Writes to `fd`, which stays the caller's.
    init(fd: Int32, form: Form, wallClock: @escaping @Sendable () -> LogSink.WallTime) {
        self.fd = fd
        self.form = form
        self.wallClock = wallClock
    }

    /// Lets a record go. One for the journal never waits; what it cannot take is counted and told
    /// later.
    func emit(_ record: LogRecord) {
        switch form {
        case .plain:
            let time = Self.timestamp(wallClock())
            write("\(time) \(record.level.rawValue) \(record.label): \(record.text)\n")
        case .prefixed:
            write(Self.prefixed(record))
        case .journal(let journal):
            tellLost(journal)
            guard !deliver(record, journal) else { return }
            lost.add(1, ordering: .relaxed)
        }
    }

    private static func prefixed(_ record: LogRecord) -> String {
        "<\(JournalRecord.priority(record.level))>\(record.label): \(record.text)\n"
    }

    /// By the socket, else by the stream, which has room of its own.
    private func deliver(_ record: LogRecord, _ journal: JournalSocket) -> Bool {
        if journal.send(JournalRecord(record)) { return true }
        var line = Self.prefixed(record)
        return line.withUTF8 { bytes in
            // A line of usual length goes as one piece or not at all (unix(7), streams).
            let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
            if send(fd, bytes.baseAddress, bytes.count, flags) >= 0 { return true }
            guard errno == ENOTSOCK else { return false }
            return Glibc.write(fd, bytes.baseAddress, bytes.count) >= 0
        }
    }

    private func tellLost(_ journal: JournalSocket) {
        guard lost.load(ordering: .relaxed) > 0 else { return }
        let count = lost.exchange(0, ordering: .relaxed)
        guard count > 0 else { return }
        let record = LogRecord(
            level: .warning, label: "gpuvmd",
            message: "log lines lost: the journal did not keep up",
            metadata: ["lines": "\(count)"])
        if !deliver(record, journal) { lost.add(count, ordering: .relaxed) }
    }

    private func write(_ text: String) {
        var line = text
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

    /// ISO 8601 in UTC with milliseconds.
    private static func timestamp(_ time: LogSink.WallTime) -> String {
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
