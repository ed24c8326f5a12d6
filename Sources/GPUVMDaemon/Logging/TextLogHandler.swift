import Logging

/// A log handler that writes one line of text for each event to a ``LogSink``.
///
/// ```
/// 2026-11-21T12:46:38.123Z warning gpuvmd: request refused client="pid 812" vm=3 errno=EINVAL
/// ```
///
/// The keys `client`, `vm` and `queue` come first, the others in alphabetical order. Control
/// characters never reach the output: part of the text is the clients'.
public struct TextLogHandler: LogHandler {
    /// The name in front of each message.
    public let label: String
    /// What every line of this handler carries.
    public var metadata: Logger.Metadata = [:]
    /// What every line carries in addition, found out when it is written.
    public var metadataProvider: Logger.MetadataProvider?
    /// Lines below it are not written.
    public var logLevel: Logger.Level

    private let sink: LogSink

    /// Writes to `sink`, which all handlers of a process share.
    public init(label: String, level: Logger.Level, sink: LogSink) {
        self.label = label
        logLevel = level
        self.sink = sink
    }

    /// One item of ``metadata``.
    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Writes one line; the event's metadata wins over the handler's.
    public func log(event: LogEvent) {
        var all = metadata
        if let provided = metadataProvider?.get() { all.merge(provided) { $1 } }
        if let own = event.metadata { all.merge(own) { $1 } }
        if let error = event.error { all["error"] = "\(error)" }
        sink.write(
            level: event.level, client: all["client"]?.description,
            text: LogLine.text(label: label, message: event.message.description, metadata: all))
    }
}
