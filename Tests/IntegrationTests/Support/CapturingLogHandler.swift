import Fencing
import Logging

/// A log that a test reads back: each line is the message and its metadata.
final class CapturedLog: Sendable {
    private let collected = Guarded(.leaf, [String]())

    /// How many lines have been written.
    var count: Int { collected.withLock { $0.count } }

    /// The lines from the given one on.
    func lines(from first: Int = 0) -> [String] {
        collected.withLock { Array($0.dropFirst(first)) }
    }

    fileprivate func append(_ line: String) { collected.withLock { $0.append(line) } }

    func logger() -> Logger {
        Logger(label: "integration") { _ in Handler(log: self) }
    }

    private struct Handler: LogHandler {
        let log: CapturedLog
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.info

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let all = metadata.merging(event.metadata ?? [:]) { $1 }
            let fields = all.map { "\($0.key)=\($0.value)" }.sorted().joined(separator: " ")
            log.append("\(event.level) \(event.message) \(fields)")
        }
    }
}
