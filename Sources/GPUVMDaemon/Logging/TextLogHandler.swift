import Logging

/// A log handler that writes one line of text, or one journal record, for each event to a
/// ``LogSink``.
///
/// ```
/// 2026-11-21T12:46:38.123Z warning gpuvmd: request refused client=7 vm=3 errno=EINVAL
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

    private let sink: LogSink
    private var ownLevel: Logger.Level?

    /// Writes to `sink`, which all handlers of a process share.
    ///
    /// - Parameter level: Stays this handler's, whatever becomes of the sink's; nil follows that.
    public init(label: String, level: Logger.Level? = nil, sink: LogSink) {
        self.label = label
        ownLevel = level
        self.sink = sink
    }

    /// Lines below it are not written: the sink's level, until another one is set here.
    public var logLevel: Logger.Level {
        get { ownLevel ?? sink.level }
        set { ownLevel = newValue }
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
            LogRecord(
                level: event.level, label: label, message: event.message.description,
                metadata: all))
    }
}
