import SystemPackage

/// Lines that are written at once, so that a reader who stalls has whole ones.
///
/// Threading: one thread.
struct TraceChunk {
    /// Why nothing more is written.
    private(set) var error: Errno?

    private let output: TraceOutput
    private var text: [UInt8] = []
    /// Events in `text`.
    private var events: UInt64 = 0
    private var written: UInt64 = 0
    private var lost: UInt64 = 0

    init(_ output: TraceOutput) {
        self.output = output
        text.reserveCapacity(output.chunkBytes)
    }

    /// Adds an event's line, and one about those before it that are missing.
    mutating func append(_ record: borrowing TraceRing.Record) {
        guard error == nil else {
            lost += 1
            return
        }
        append(lines: TraceText.line(.dropped(record.dropped)), when: record.dropped != 0)
        append(lines: TraceText.line(record.event))
        events += 1
    }

    /// Adds lines that are no events.
    mutating func append(lines: @autoclosure () -> [UInt8], when isWanted: Bool = true) {
        guard isWanted else { return }
        let lines = lines()
        if text.count + lines.count > output.chunkBytes { flush() }
        text += lines
    }

    /// Writes what was added.
    mutating func flush() {
        if error == nil, !text.isEmpty {
            do throws(Errno) { try output.write(text) } catch { self.error = error }
        }
        if error == nil { written += events } else { lost += events }
        events = 0
        text.removeAll(keepingCapacity: true)
    }

    /// The events that were written and that were not, since the last time.
    mutating func takeCounts() -> (written: UInt64, lost: UInt64) {
        defer { (written, lost) = (0, 0) }
        return (written, lost)
    }
}
