import Device
import Fencing
import Glibc
import SystemPackage
import WireProtocol

/// What programs do on open files of the DRM shim, and what comes of it: one JSON object a line.
///
/// Whoever notes an event leaves it in a queue; a thread of the trace's own makes text of it and
/// writes, so that a slow disk holds up no job. The queue has a limit of events and of bytes: what
/// comes while it is full is dropped, counted, and the count is a line where the events would be.
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
        /// Why not everything could be written.
        public var error: Errno?
    }

    /// The most events in memory.
    public static let standardEvents = 65_536
    /// The most bytes that they keep.
    public static let standardBytes = 32 << 20

    private let limits: (events: Int, bytes: Int)
    /// Closed by ``finish()``, or with the trace; `number` is what it is until then.
    private let file: Guarded<OwnedFD?>
    private let number: Int32

    private struct State {
        var events: [TraceEvent] = []
        /// Of the queue and of what is being written.
        var count = 0
        var bytes = 0
        /// Since the last event that had room.
        var dropped: UInt64 = 0
        var isEnding = false
        var thread: RuntimeThread?
        var result = Result()
    }

    private let state: Guarded<State>
    private let posted = Condition()

    /// Makes the file, or empties it, and writes the first line.
    ///
    /// - Parameters:
    ///   - path: Of the file.
    ///   - device: Which GPU the programs see.
    ///   - events: The most events in memory.
    ///   - bytes: The most bytes that they keep, about.
    /// - Throws: The errno of open(2) or write(2); EAGAIN without a thread.
    public convenience init(
        path: String, device: String, events: Int = standardEvents, bytes: Int = standardBytes
    ) throws(Errno) {
        // A FIFO without a reader is an error (ENXIO), not waited for.
        let flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY
        let number = open(path, flags | O_NONBLOCK, 0o644)
        guard number >= 0 else { throw Errno(rawValue: errno) }
        _ = fcntl(number, F_SETFL, flags)
        try self.init(descriptor: number, device: device, events: events, bytes: bytes)
    }

    /// Writes to `descriptor`, which is the trace's from here on.
    init(descriptor: Int32, device: String, events: Int, bytes: Int) throws(Errno) {
        limits = (events, bytes)
        file = Guarded(.leaf, OwnedFD(descriptor))
        number = descriptor
        var initial = State()
        initial.events.reserveCapacity(min(events, 4096))
        state = Guarded(.leaf, initial)
        var line = TraceLine("start", at: Runtime.now(), isFirst: true)
        line.field("clock", "CLOCK_MONOTONIC")
        line.field("device", device)
        try Self.write(line.finish(), to: descriptor)
        guard let thread = RuntimeThread.start(name: "gpuvm-trace", { [self] in run() }) else {
            throw .resourceTemporarilyUnavailable
        }
        state.withLock { $0.thread = thread }
    }

    /// Keeps an event, if there is room. Never waits for the disk.
    func note(_ event: TraceEvent) {
        let footprint = event.footprint
        let isKept = state.withLock { state in
            guard !state.isEnding, state.count < limits.events,
                state.bytes + footprint <= limits.bytes
            else {
                state.dropped += 1
                return false
            }
            Self.reportDrops(&state)
            state.events.append(event)
            state.count += 1
            state.bytes += footprint
            return true
        }
        if isKept { posted.signal() }
    }

    func note(_ event: DeviceEvent) { note(.device(event, Runtime.now())) }

    private static func reportDrops(_ state: inout State) {
        guard state.dropped != 0 else { return }
        state.events.append(.dropped(state.dropped))
        state.result.dropped += state.dropped
        state.dropped = 0
    }

    /// Writes what is in memory and the last line, and closes the file. Waits for the disk.
    ///
    /// - Returns: What became of the trace.
    public func finish() -> Result {
        let thread = state.withLock { state in
            state.isEnding = true
            return exchange(&state.thread, with: nil)
        }
        posted.signal()
        thread?.join()
        // Readers of a pipe hear of the end here.
        _ = file.withLock { $0.take() }
        return state.withLock { $0.result }
    }

    // MARK: the trace's own thread

    private func run() {
        while true {
            let batch = state.wait(on: posted) { state -> [TraceEvent]? in
                guard !state.events.isEmpty || state.isEnding else { return nil }
                if state.isEnding { Self.reportDrops(&state) }
                return exchange(&state.events, with: [])
            }
            guard let batch, !batch.isEmpty else { break }
            for part in stride(from: 0, to: batch.count, by: Self.linesAtATime) {
                write(batch[part..<min(part + Self.linesAtATime, batch.count)])
            }
        }
        writeEnd()
    }

    private static let linesAtATime = 256

    private func write(_ events: ArraySlice<TraceEvent>) {
        var text: [UInt8] = []
        var count = 0
        var bytes = 0
        for event in events {
            text += TraceText.line(event)
            // A line about drops is no event.
            if case .dropped = event { continue }
            count += 1
            bytes += event.footprint
        }
        var failure = state.withLock { $0.result.error }
        if failure == nil {
            do throws(Errno) { try Self.write(text, to: number) } catch { failure = error }
        }
        state.withLock { state in
            state.count -= count
            state.bytes -= bytes
            state.result.error = failure
            if failure == nil {
                state.result.written += UInt64(count)
            } else {
                state.result.dropped += UInt64(count)
            }
        }
    }

    private func writeEnd() {
        let result = state.withLock { $0.result }
        guard result.error == nil else { return }
        var line = TraceLine("end", at: Runtime.now())
        line.field("events", result.written)
        line.field("dropped", result.dropped)
        do throws(Errno) {
            try Self.write(line.finish(), to: number)
        } catch {
            state.withLock { $0.result.error = error }
        }
    }

    private static func write(_ bytes: [UInt8], to file: Int32) throws(Errno) {
        let failure = bytes.withUnsafeBytes { all -> Errno? in
            var rest = all
            while !rest.isEmpty {
                let written = Glibc.write(file, rest.baseAddress, rest.count)
                if written < 0 {
                    if errno == EINTR { continue }
                    return Errno(rawValue: errno)
                }
                rest = UnsafeRawBufferPointer(rebasing: rest[written...])
            }
            return nil
        }
        if let failure { throw failure }
    }
}
