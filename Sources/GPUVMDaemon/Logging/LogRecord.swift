import Logging

/// One event on its way to the log, whatever form it takes there.
struct LogRecord {
    /// How grave it is.
    let level: Logger.Level
    /// The name of the logger.
    let label: String
    /// What happened.
    let message: String
    /// The logger's items and the event's own, which won.
    let metadata: Logger.Metadata

    /// Whose share of lines it counts against; nil for none's.
    var client: String? { metadata["client"]?.description }

    /// The line without label, time and level.
    var text: String { LogLine.text(message: message, metadata: metadata) }
}
