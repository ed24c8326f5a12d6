import CPlatform
import Glibc

// @unchecked: `chunks` is guarded by `lock`; mappings live as long as the reader.
/// A client's view of its fence pages: reads states and sleeps on them without the daemon's help.
///
/// Threading: any thread; each waiter sleeps on its own.
public final class FencePageReader: @unchecked Sendable {
    /// The most objects that one wait can take (futex_waitv).
    public static let maximumWait = Int(GPUVM_FUTEX_WAITV_MAX)

    /// A slot and the point that is waited for; 0 for the object as a binary one.
    public struct Target: Sendable, Equatable {
        /// The slot's number over all chunks, as ``FenceSlot/index`` gives it.
        public let slot: Int
        /// The point.
        public let point: UInt64
        /// Creates a target.
        public init(slot: Int, point: UInt64 = 0) {
            self.slot = slot
            self.point = point
        }
    }

    private let lock = Lock(.leaf)
    private var chunks: [UnsafeMutableRawPointer] = []

    /// Creates a reader without chunks.
    public init() {}

    deinit {
        for chunk in chunks { gpuvm_unmap(chunk, FencePage.chunkBytes) }
    }

    /// The number of chunks mapped.
    public var chunkCount: Int { lock.withLock { chunks.count } }

    /// Maps the next chunk, read-only.
    ///
    /// - Parameter fd: From the daemon, chunk after chunk; it stays the caller's and may be closed.
    public func addChunk(fd: Int32) throws(FencingError) {
        var error: Int32 = 0
        guard let base = gpuvm_map_shared(fd, 0, FencePage.chunkBytes, 0, &error) else {
            throw .system(errno: -error, call: "mmap")
        }
        lock.withLock { chunks.append(base) }
    }

    /// A consistent copy of a slot.
    ///
    /// - Throws: ``FencingError/invalidArgument(_:)`` for a slot outside of the mapped chunks, or
    ///   ``FencingError/deviceLost`` if the daemon died while it wrote the slot.
    public func snapshot(slot: Int) throws(FencingError) -> FenceSlotSnapshot {
        try Self.snapshot(memory(of: slot))
    }

    /// The last signalled point; of a binary object 1 once it has signalled.
    public func value(slot: Int) throws(FencingError) -> UInt64 { try snapshot(slot: slot).value }

    /// The last submitted point; of a binary object 1 while a fence is attached.
    public func submitted(slot: Int) throws(FencingError) -> UInt64 {
        try snapshot(slot: slot).submitted
    }

    /// 0, or the positive errno of the last fence that failed.
    public func status(slot: Int) throws(FencingError) -> Int32 { try snapshot(slot: slot).status }

    /// Blocks until any or all targets are satisfied, by the rules of ``SyncobjWait``.
    ///
    /// A target whose object gets another fence meanwhile is satisfied if the first fence had
    /// signalled; if it had not, the wait goes on with the new one (the kernel would keep to the old).
    ///
    /// - Parameters:
    ///   - deadline: Absolute CLOCK_MONOTONIC ns, signed; Int64.max waits for ever, one that has
    ///     passed polls once.
    ///   - restarts: Go on after a signal (EINTR); otherwise ``FencingError/interrupted``.
    ///   - isAlive: Asked about ten times a second; false ends with ``FencingError/deviceLost``.
    /// - Returns: The index of the target that satisfied the wait; with ``SyncobjWait/Flags/all`` the
    ///   first that was satisfied at the beginning, or UInt32.max.
    /// - Throws: ``FencingError/timeExpired``, ``FencingError/notSubmitted(point:)``,
    ///   ``FencingError/invalidArgument(_:)``, or ``FencingError/tooManyObjects(count:limit:)``:
    ///   then the daemon has to make the wait.
    public func wait(
        _ targets: [Target], flags: SyncobjWait.Flags = [], deadline: Int64 = .max,
        restarts: Bool = true, isAlive: (() -> Bool)? = nil
    ) throws(FencingError) -> UInt32 {
        guard !targets.isEmpty else { throw .invalidArgument("a wait for no object") }
        guard flags.isSubset(of: .known) else { throw .invalidArgument("unknown wait flags") }
        guard targets.count <= Self.maximumWait else {
            throw .tooManyObjects(count: targets.count, limit: Self.maximumWait)
        }
        var entries: [Entry] = []
        entries.reserveCapacity(targets.count)
        for target in targets {
            entries.append(Entry(memory: try memory(of: target.slot), point: target.point))
        }
        return try Self.wait(&entries, flags, deadline, restarts, isAlive)
    }

    // MARK: Waiting

    private struct Entry {
        let memory: FenceSlotMemory
        let point: UInt64
        var isSatisfied = false
        /// The generation in which the point's fence was first seen.
        var foundIn: UInt32?
        var wakeCount: UInt32 = 0

        /// Looks at the slot once; true if that satisfied the entry.
        mutating func look(_ flags: SyncobjWait.Flags) throws(FencingError) -> Bool {
            let state = try FencePageReader.snapshot(memory)
            wakeCount = state.wakeCount
            guard state.isInUse else { throw .invalidArgument("the slot is not in use") }
            if let foundIn, state.generation != foundIn {
                let replacements = (state.generation &- foundIn) / 2
                if replacements <= state.cleanCount {
                    isSatisfied = true
                    return true
                }
                self.foundIn = nil
            }
            if state.isAvailable(point) {
                if foundIn == nil { foundIn = state.generation }
                isSatisfied = flags.contains(.available) || state.isSignalled(point)
            }
            return isSatisfied
        }
    }

    private static func wait(
        _ entries: inout [Entry], _ flags: SyncobjWait.Flags, _ deadline: Int64, _ restarts: Bool,
        _ isAlive: (() -> Bool)?
    ) throws(FencingError) -> UInt32 {
        let waitsForAll = flags.contains(.all)
        var firstAtStart = UInt32.max
        var isStart = true
        while true {
            var missing = 0
            for index in entries.indices where !entries[index].isSatisfied {
                if try entries[index].look(flags) {
                    if isStart && firstAtStart == .max { firstAtStart = UInt32(index) }
                    if !waitsForAll && !isStart { return UInt32(index) }
                } else {
                    missing += 1
                    // Every object is looked at before any is reported, as the kernel does.
                    if isStart && entries[index].foundIn == nil
                        && flags.isDisjoint(with: [.forSubmit, .available])
                    {
                        throw .notSubmitted(point: entries[index].point)
                    }
                }
            }
            if missing == 0 || (!waitsForAll && firstAtStart != .max) { return firstAtStart }
            isStart = false
            let now = Runtime.now()
            if deadline <= 0 || UInt64(deadline) <= now { throw .timeExpired }
            if let isAlive, !isAlive() { throw .deviceLost }
            let slice = Int64(clamping: now &+ 100_000_000)
            let error = sleep(entries, until: isAlive == nil ? deadline : min(deadline, slice))
            if error == EINTR && !restarts { throw .interrupted }
            if ![0, EAGAIN, EINTR, ETIMEDOUT].contains(error) {
                throw .system(errno: error, call: "futex_waitv")
            }
        }
    }

    /// Sleeps until a slot that is not satisfied changes; the positive errno of the futex call.
    private static func sleep(_ entries: [Entry], until deadline: Int64) -> Int32 {
        var waiters: [gpuvm_futex_waiter] = []
        waiters.reserveCapacity(entries.count)
        for entry in entries where !entry.isSatisfied {
            waiters.append(
                gpuvm_futex_waiter(
                    expected: UInt64(entry.wakeCount),
                    word: UnsafeRawPointer(entry.memory.wakeCount)))
        }
        if waiters.count == 1 {
            return -gpuvm_futex_wait(waiters[0].word, UInt32(waiters[0].expected), deadline)
        }
        let result = gpuvm_futex_waitv(waiters, UInt32(waiters.count), deadline)
        return result < 0 ? -result : 0
    }

    // MARK: Slots

    private func memory(of slot: Int) throws(FencingError) -> FenceSlotMemory {
        let chunk = slot / FencePage.slotsPerChunk
        let base = lock.withLock { slot >= 0 && chunk < chunks.count ? chunks[chunk] : nil }
        guard let base else { throw .invalidArgument("no fence page slot of this number") }
        let offset = slot % FencePage.slotsPerChunk * Int(GPUVM_FENCE_SLOT_BYTES)
        return FenceSlotMemory(base: base + offset)
    }

    private static func snapshot(_ memory: FenceSlotMemory) throws(FencingError)
        -> FenceSlotSnapshot
    {
        // A replacement takes the daemon a few stores; one that is preempted there takes its turn.
        for attempt in 0..<100_000 {
            if let state = FenceSlotSnapshot(memory) { return state }
            if attempt > 100 { sched_yield() }
        }
        throw .deviceLost
    }
}
