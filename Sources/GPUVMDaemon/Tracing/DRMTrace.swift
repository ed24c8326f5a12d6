import Device
import Fencing
import Glibc
import SystemPackage
import WireProtocol

/// What programs do on open files of the DRM shim, and what comes of it: one JSON object a line.
///
/// Whoever notes an event leaves it in a queue, in memory that is there from the beginning; a thread of
/// the trace's own makes text of it and writes. So nobody who notes waits for a disk or a reader, and
/// what is noted while the queue is full is dropped, counted, and the count is a line where the events
/// would be, and in the last one.
///
/// A file on a disk takes everything, only slower than it comes: there the programs wait before they make
/// calls (``waitForRoom()``), never the device, and half of the queue is kept for what goes on meanwhile.
/// What has a reader that may stall (a FIFO, a terminal, a socket) holds up nobody; at the end it is
/// given two seconds to go on, ten in all, and the rest is told.
///
/// Lines are in the order in which things ended: an ioctl's comes with its answer, a job's when it
/// gives back what it held; both say when they began.
///
/// Threading: any thread may note, on the signalling path too; ``finish()`` once.
public final class DRMTrace: Sendable {
    /// What became of a trace.
    public struct Result: Sendable, Equatable {
        /// Events written, the first and the last line not counted.
        public var written: UInt64 = 0
        /// Events that were dropped: no room, or nothing more could be written.
        public var dropped: UInt64 = 0
        /// Why not everything could be written; ETIMEDOUT: nobody read.
        public var error: Errno?
    }

    /// The most events in memory.
    public static let standardEvents = 65_536
    /// The most bytes that they keep.
    public static let standardBytes = 32 << 20

    private let maximumBytes: Int
    /// Closed by ``finish()``, or with the trace.
    private let output: Guarded<TraceOutput?>
    private let isFile: Bool

    private struct State: ~Copyable {
        var ring: TraceRing
        /// Of the ring's events and of those that are being written.
        var bytes = 0
        /// Since the last event that had room.
        var dropped: UInt64 = 0
        /// A disk that takes nothing is waited for once.
        var isStuck = false
        var isEnding = false
        var thread: RuntimeThread?
        var result = Result()

        init(capacity: Int) { ring = TraceRing(capacity: capacity) }
    }

    private let state: Guarded<State>
    private let posted = Condition()
    private let drained = Condition()

    /// Makes the file, or empties it, and writes the first line.
    ///
    /// - Parameters:
    ///   - path: Of the file.
    ///   - device: Which GPU the programs see.
    ///   - events: The most events in memory.
    ///   - bytes: The most bytes that they keep, about.
    /// - Throws: The errno of open(2) or write(2); ETIMEDOUT if nobody reads; EAGAIN without a thread.
    public convenience init(
        path: String, device: String, events: Int = standardEvents, bytes: Int = standardBytes
    ) throws(Errno) {
        // A FIFO without a reader is an error (ENXIO), not waited for.
        let flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK
        let number = open(path, flags, 0o644)
        guard number >= 0 else { throw Errno(rawValue: errno) }
        try self.init(descriptor: number, device: device, events: events, bytes: bytes)
    }

    /// Writes to `descriptor`, which is the trace's from here on.
    init(descriptor: Int32, device: String, events: Int, bytes: Int) throws(Errno) {
        let output = try TraceOutput(OwnedFD(descriptor))
        maximumBytes = bytes
        self.output = Guarded(.leaf, output)
        isFile = output.isFile
        state = Guarded(.leaf, State(capacity: events))
        var line = TraceLine("start", at: Runtime.now(), isFirst: true)
        line.field("clock", "CLOCK_MONOTONIC")
        line.field("device", device)
        try output.write(line.finish(), within: TraceOutput.patience)
        guard let thread = RuntimeThread.start(name: "gpuvm-trace", { [self] in run(output) })
        else { throw .resourceTemporarilyUnavailable }
        state.withLock { $0.thread = thread }
    }

    /// Keeps an event, if there is room. Waits for nobody and allocates nothing.
    func note(_ event: TraceEvent) {
        let footprint = event.footprint
        let isKept = state.withLock { state in
            // A call of many bytes to a file has room as long as the others have not used it up.
            let bytes = isFile ? state.bytes : state.bytes + footprint
            guard !state.isEnding, state.ring.count < state.ring.capacity, bytes <= maximumBytes
            else {
                state.dropped += 1
                state.result.dropped += 1
                return false
            }
            state.ring.append(
                TraceRing.Record(dropped: exchange(&state.dropped, with: 0), event: event))
            state.bytes += footprint
            return true
        }
        if isKept { posted.signal() }
    }

    func note(_ event: DeviceEvent) { note(.device(event, Runtime.now())) }

    /// To be called before a program's call is carried out: returns when half of the queue is empty. Only
    /// a file is waited for, and no longer than a disk takes that works.
    func waitForRoom() {
        guard isFile else { return }
        SignallingSection.assertOutside("a wait for a trace's file")
        let end = Runtime.deadline(after: TraceOutput.patience)
        let hasRoom = state.wait(on: drained, deadline: end) { state -> Bool? in
            let isHalfEmpty =
                state.ring.count <= state.ring.capacity / 2 && state.bytes <= maximumBytes / 2
            let isNoUse = state.isEnding || state.isStuck || state.result.error != nil
            return isHalfEmpty || isNoUse ? true : nil
        }
        if hasRoom == nil { state.withLock { $0.isStuck = true } }
    }

    /// Writes what is in memory and the last line, and closes the file. Waits for a disk, and for a
    /// reader ten seconds at most.
    ///
    /// - Returns: What became of the trace.
    public func finish() -> Result {
        let thread = state.withLock { state in
            state.isEnding = true
            return exchange(&state.thread, with: nil)
        }
        posted.signal()
        drained.broadcast()
        output.withLock { $0 }?.limitWaits()
        thread?.join()
        // Readers of a pipe hear of the end here.
        let last = output.withLock { exchange(&$0, with: nil) }
        withExtendedLifetime(last) {}
        return state.withLock { $0.result }
    }

    // MARK: the trace's own thread

    private static let eventsAtATime = 256

    private func run(_ output: TraceOutput) {
        var chunk = TraceChunk(output)
        var batch: [TraceRing.Record] = []
        batch.reserveCapacity(Self.eventsAtATime)
        while true {
            _ = state.wait(on: posted) { state -> Bool? in
                state.ring.count != 0 || state.isEnding ? true : nil
            }
            // Nothing is allocated under the lock: on the signalling path it is taken, too.
            state.withLock { state in
                for _ in 0..<min(state.ring.count, Self.eventsAtATime) {
                    batch.append(state.ring.removeFirst())
                }
            }
            guard !batch.isEmpty else { break }
            for record in batch { chunk.append(record) }
            chunk.flush()
            let bytes = batch.reduce(0) { $0 + $1.event.footprint }
            let (written, lost) = chunk.takeCounts()
            let error = chunk.error
            state.withLock { state in
                state.bytes -= bytes
                state.isStuck = false
                state.result.written += written
                state.result.dropped += lost
                state.result.error = error
            }
            drained.broadcast()
            batch.removeAll(keepingCapacity: true)
        }
        writeEnd(&chunk)
    }

    private func writeEnd(_ chunk: inout TraceChunk) {
        let (result, dropped) = state.withLock { ($0.result, $0.dropped) }
        chunk.append(lines: TraceText.line(.dropped(dropped)), when: dropped != 0)
        var line = TraceLine("end", at: Runtime.now())
        line.field("events", result.written)
        line.field("dropped", result.dropped)
        chunk.append(lines: line.finish())
        chunk.flush()
        let error = chunk.error
        state.withLock { $0.result.error = error }
    }
}
