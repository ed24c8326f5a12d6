import CPlatform
import Synchronization

/// What a slot says of its sync object.
struct FenceSlotState: Equatable {
    var value: UInt64 = 0
    var submitted: UInt64 = 0
    var status: Int32 = 0
    var isTimeline = false
}

// @unchecked: the address never changes and all access is atomic.
/// One `struct gpuvm_fence_slot` in shared memory, seen as its atomic fields.
///
/// The layout and the order of loads and stores are those of gpuvm_fence_page.h.
struct FenceSlotMemory: @unchecked Sendable, Equatable {
    let base: UnsafeMutableRawPointer

    /// The fields lie at fixed offsets and `Atomic` has the layout of its value.
    var value: UnsafeMutablePointer<Atomic<UInt64>> {
        base.assumingMemoryBound(to: Atomic<UInt64>.self)
    }
    var submitted: UnsafeMutablePointer<Atomic<UInt64>> {
        (base + 8).assumingMemoryBound(to: Atomic<UInt64>.self)
    }
    var wakeCount: UnsafeMutablePointer<Atomic<UInt32>> {
        (base + 16).assumingMemoryBound(to: Atomic<UInt32>.self)
    }
    var generation: UnsafeMutablePointer<Atomic<UInt32>> {
        (base + 20).assumingMemoryBound(to: Atomic<UInt32>.self)
    }
    var status: UnsafeMutablePointer<Atomic<Int32>> {
        (base + 24).assumingMemoryBound(to: Atomic<Int32>.self)
    }
    var flags: UnsafeMutablePointer<Atomic<UInt32>> {
        (base + 28).assumingMemoryBound(to: Atomic<UInt32>.self)
    }
}

/// The daemon's side of one slot.
///
/// Threading: the lock of the sync object that the slot mirrors; before and after that, the fence
/// page's owner of the slot.
struct FenceSlotWriter: Sendable, Equatable {
    let memory: FenceSlotMemory

    /// Publishes `state` and wakes whoever sleeps on the slot; nothing if nothing changed.
    ///
    /// - Parameters:
    ///   - replaced: The object holds another fence or timeline than before.
    ///   - clean: What it held before had signalled.
    func write(_ state: FenceSlotState, replaced: Bool, clean: Bool) {
        let oldFlags = memory.flags.pointee.load(ordering: .relaxed)
        var flags = GPUVM_FENCE_SLOT_IN_USE | (state.isTimeline ? GPUVM_FENCE_SLOT_TIMELINE : 0)
        let cleanCount = oldFlags >> UInt32(GPUVM_FENCE_SLOT_CLEAN_SHIFT)
        let newCount =
            replaced ? (clean ? min(cleanCount + 1, GPUVM_FENCE_SLOT_CLEAN_MAX) : 0) : cleanCount
        flags |= newCount << UInt32(GPUVM_FENCE_SLOT_CLEAN_SHIFT)
        if !replaced {
            let isSame =
                memory.value.pointee.load(ordering: .relaxed) == state.value
                && memory.submitted.pointee.load(ordering: .relaxed) == state.submitted
                && memory.status.pointee.load(ordering: .relaxed) == state.status
                && oldFlags == flags
            if isSame { return }
        }
        store(state, flags: flags, replaced: replaced)
    }

    /// Marks the slot as nobody's; sleepers wake up and find that.
    func clear() {
        store(FenceSlotState(), flags: 0, replaced: true)
    }

    private func store(_ state: FenceSlotState, flags: UInt32, replaced: Bool) {
        let generation = memory.generation.pointee.load(ordering: .relaxed)
        if replaced { memory.generation.pointee.store(generation &+ 1, ordering: .relaxed) }
        memory.flags.pointee.store(flags, ordering: .releasing)
        memory.status.pointee.store(state.status, ordering: .releasing)
        // Submitted before value: a reader, which loads value first, never sees a value that the
        // submitted point does not cover.
        memory.submitted.pointee.store(state.submitted, ordering: .releasing)
        memory.value.pointee.store(state.value, ordering: .releasing)
        if replaced { memory.generation.pointee.store(generation &+ 2, ordering: .releasing) }
        memory.wakeCount.pointee.add(1, ordering: .releasing)
        gpuvm_futex_wake(UnsafeRawPointer(memory.wakeCount), .max)
    }
}

/// A consistent copy of one slot, as a client reads it.
public struct FenceSlotSnapshot: Sendable, Equatable {
    /// The last signalled point; of a binary object 1 once it has signalled.
    public let value: UInt64
    /// The last submitted point; of a binary object 1 while a fence is attached.
    public let submitted: UInt64
    /// 0, or the positive errno of the last fence that failed.
    public let status: Int32
    /// Two more each time that the object's state was replaced.
    public let generation: UInt32
    /// The futex value that belongs to this state.
    public let wakeCount: UInt32
    let flags: UInt32

    /// Whether the slot mirrors an object.
    public var isInUse: Bool { flags & GPUVM_FENCE_SLOT_IN_USE != 0 }
    /// Whether value and submitted are timeline points.
    public var isTimeline: Bool { flags & GPUVM_FENCE_SLOT_TIMELINE != 0 }
    /// How many of the latest replacements replaced a signalled fence.
    var cleanCount: UInt32 { flags >> UInt32(GPUVM_FENCE_SLOT_CLEAN_SHIFT) }

    /// Whether the point (0: the binary object) has a fence.
    public func isAvailable(_ point: UInt64) -> Bool {
        point == 0 ? submitted != 0 : isTimeline && submitted >= point
    }

    /// Whether the point (0: the binary object) has signalled.
    public func isSignalled(_ point: UInt64) -> Bool {
        point == 0 ? submitted != 0 && value >= submitted : isTimeline && value >= point
    }

    /// Reads `slot`; nil while its state is being replaced.
    init?(_ slot: FenceSlotMemory) {
        wakeCount = slot.wakeCount.pointee.load(ordering: .acquiring)
        generation = slot.generation.pointee.load(ordering: .acquiring)
        value = slot.value.pointee.load(ordering: .acquiring)
        submitted = slot.submitted.pointee.load(ordering: .acquiring)
        status = slot.status.pointee.load(ordering: .acquiring)
        flags = slot.flags.pointee.load(ordering: .acquiring)
        let after = slot.generation.pointee.load(ordering: .relaxed)
        if generation & 1 != 0 || after != generation { return nil }
    }
}
