import Fencing
import GPUVMCore
import PageTables

/// Which buffers are in VRAM, and who has to leave when there is no room.
///
/// A buffer is resident where it wants to be, or evicted to system memory. Making one resident takes
/// frames; if there are none, the least recently used buffers are evicted, each by a fenced job
/// (``BufferMove``) that waits for all work on it. Nobody waits for such a job: its fence is a
/// dependency of whoever uses the frames or the buffer next.
///
/// Source: `ttm_bo_validate`, `ttm_bo_evict_alloc` (drivers/gpu/drm/ttm/ttm_bo.c).
///
/// Threading: any thread. Victims are locked by the caller's `ExecLocking`, so that two who evict
/// each other's buffers back off by age.
public final class Residency: Sendable {
    private struct State: ~Copyable {
        var lru = LRUList()
        var hiddenLRU = LRUList()
        var statistics = ResidencyStatistics()
        /// Buffers without hard references that VMs with weak references map.
        var unheld: [BufferObject] = []
        /// How many buffers have gone so far.
        var gone: UInt64 = 0
    }

    /// The physical address space.
    public let memory: PhysicalMemoryMap
    private let migrator: any Migrator
    /// Outside of the allocators' locks: a frame is free or its buffer is on a list, at any moment.
    private let state = Guarded(.residency, State())
    private let someoneWent = Condition()

    /// Everything is free.
    public init(memory: PhysicalMemoryMap, migrator: some Migrator) {
        self.memory = memory
        self.migrator = migrator
    }

    /// What memory pressure has led to.
    public var statistics: ResidencyStatistics {
        state.withLock { state in
            var statistics = state.statistics
            statistics.residentBuffers = state.lru.count + state.hiddenLRU.count
            return statistics
        }
    }

    // MARK: making room

    /// Sees to it that a buffer has, or will have when the fences of usage `.kernel` on its
    /// reservation have signalled, frames where it wants to be.
    ///
    /// The buffer's reservation is locked through `locking`.
    ///
    /// - Parameter sparesLocked: Whether what the attempt has locked, and a VM maps, is a working set
    ///   that must stay. A new buffer may take the place of others of its reservation.
    /// - Throws: ``ResidencyError/memory(_:)``: everything that may leave has left and it is not
    ///   enough (the buffer is as before), or the device is shutting down.
    ///   ``ResidencyError/locking(_:)``: contention; what was evicted until then stays so.
    /// - Complexity: O(its extents), and under pressure O(buffers in VRAM).
    public func makeResident(
        _ buffer: BufferObject, locking: inout ExecLocking, sparesLocked: Bool = true
    ) throws(ResidencyError) {
        buffer.reservation.assertLocked()
        let old = buffer.frames
        if let old, old.placement == buffer.wantedPlacement { return }
        let grant = try takeFrames(for: buffer, locking: &locking, sparesLocked)
        let frames = BufferFrames(grant.extents, in: grant.region)
        let fence: Fence?
        do throws(MemoryError) {
            fence = try move(buffer, from: old, to: frames, after: grant.leaving)
        } catch {
            state.withLock { state in
                grant.region.release(grant.extents, after: nil)
                remove(buffer.lruNode, &state)
            }
            throw .memory(error)
        }
        guard let old else { return }
        old.region.release(old.extents, after: fence)
        state.withLock { state in
            state.statistics.restores += 1
            state.statistics.evictedBuffers -= 1
            state.statistics.bytesMoved += buffer.size
        }
    }

    /// Marks what a submission has locked as used last.
    public func touch(_ locking: borrowing ExecLocking) {
        state.withLock { state in
            locking.forEachLocked { object in
                state.lru.touch(object.reservation)
                state.hiddenLRU.touch(object.reservation)
            }
        }
    }

    private struct Grant {
        var region: MemoryRegion
        var extents: [PhysicalExtent]
        var leaving: [Fence]
    }

    private func takeFrames(
        for buffer: BufferObject, locking: inout ExecLocking, _ sparesLocked: Bool
    ) throws(ResidencyError) -> Grant {
        let regions = memory.regions(
            buffer.wantedPlacement, needsCPUAccess: buffer.needsCPUAccess)
        var problem = MemoryError.exhausted(buffer.wantedPlacement, wanted: buffer.size, free: 0)
        for region in regions {
            do throws(MemoryError) { return try take(region, for: buffer) } catch {
                problem = error
            }
        }
        guard buffer.wantedPlacement == .vram else { throw .memory(problem) }
        for region in regions where region.bytes >= buffer.size {
            repeat {
                do throws(MemoryError) {
                    return try take(region, for: buffer)
                } catch { problem = error }
            } while try makeRoom(in: region, for: buffer, locking: &locking, sparesLocked)
        }
        throw .memory(problem)
    }

    private func take(
        _ region: MemoryRegion, for buffer: BufferObject
    ) throws(MemoryError) -> Grant {
        try state.withLock { state throws(MemoryError) in
            let taken = try region.allocate(length: buffer.size)
            if region.placement == .vram { insert(buffer, in: region, &state) }
            return Grant(region: region, extents: taken.extents, leaving: taken.leaving)
        }
    }

    /// Evicts until there is room for the buffer, or there is nothing left that may go.
    ///
    /// - Returns: Whether there is a reason to try again.
    private func makeRoom(
        in region: MemoryRegion, for buffer: BufferObject, locking: inout ExecLocking,
        _ sparesLocked: Bool
    ) throws(ResidencyError) -> Bool {
        let bytes = buffer.size
        let candidates = state.withLock { state in
            region === memory.vram ? state.lru.buffers() : state.hiddenLRU.buffers()
        }
        var busy: BufferObject?
        var hasEvicted = false
        // A smaller buffer may have a place to go to where a larger one has none.
        var homeless: MemoryError?
        for victim in candidates where region.freeBytes < bytes {
            if try lock(victim, waiting: false, &locking) {
                defer { locking.unlockVictim(victim) }
                if try evict(victim, from: region, &homeless) { hasEvicted = true }
            } else if locking.holds(victim.reservation) {
                // A private buffer that is mapped nowhere is locked with the rest, and not needed.
                if victim === buffer || (sparesLocked && !victim.vms.isEmpty) { continue }
                if try evict(victim, from: region, &homeless) { hasEvicted = true }
            } else if busy == nil {
                busy = victim
            }
        }
        // Others give frames back too.
        if hasEvicted || region.freeBytes >= bytes { return true }
        // All are somebody's at this moment: wait for the least recently used, or back off.
        if let busy, try lock(busy, waiting: true, &locking) {
            defer { locking.unlockVictim(busy) }
            // It may have left meanwhile; either way there is a reason to look again.
            _ = try evict(busy, from: region, &homeless)
            if homeless == nil { return true }
        }
        if let homeless { throw .memory(homeless) }
        return false
    }

    private func lock(
        _ victim: BufferObject, waiting: Bool, _ locking: inout ExecLocking
    ) throws(ResidencyError) -> Bool {
        do throws(GPUVMError) {
            return try locking.lockVictim(victim, waiting: waiting)
        } catch {
            throw .locking(error)
        }
    }

    /// Sends a locked victim to system memory.
    ///
    /// - Parameter homeless: Why there is no place for it in system memory, if that is so.
    /// - Returns: False if it is not in that region any more, or has nowhere to go.
    private func evict(
        _ victim: BufferObject, from region: MemoryRegion, _ homeless: inout MemoryError?
    ) throws(ResidencyError) -> Bool {
        guard let old = victim.frames, old.region === region else { return false }
        let fence: Fence?
        do throws(MemoryError) {
            let taken = try memory.system.allocate(length: victim.size)
            do throws(MemoryError) {
                fence = try move(
                    victim, from: old, to: BufferFrames(taken.extents, in: memory.system),
                    after: taken.leaving)
            } catch {
                memory.system.release(taken.extents, after: nil)
                throw error
            }
        } catch {
            guard case .exhausted = error else { throw .memory(error) }
            homeless = error
            return false
        }
        victim.setEvicted(true)
        state.withLock { state in
            region.release(old.extents, after: fence)
            remove(victim.lruNode, &state)
            state.statistics.evictions += 1
            state.statistics.evictedBuffers += 1
            state.statistics.bytesMoved += victim.size
        }
        return true
    }

    /// Sends a buffer to system memory though nobody needs its place.
    ///
    /// The buffer's reservation is locked.
    ///
    /// - Returns: False if it is not in VRAM, or system memory has no room for it.
    /// - Throws: ``ResidencyError/memory(_:)`` when the device is shutting down.
    public func evict(_ buffer: BufferObject) throws(ResidencyError) -> Bool {
        buffer.reservation.assertLocked()
        guard let frames = buffer.frames, frames.placement == .vram else { return false }
        var homeless: MemoryError?
        return try evict(buffer, from: frames.region, &homeless)
    }

    // MARK: moves

    /// Submits a move, or carries it out at once where nothing has to be waited for; the buffer's
    /// reservation is locked.
    ///
    /// - Returns: The move's fence; nil if it is done.
    private func move(
        _ buffer: BufferObject, from source: BufferFrames?, to destination: BufferFrames,
        after leaving: [Fence]
    ) throws(MemoryError) -> Fence? {
        // A buffer that is evicted is in no page table: only earlier moves concern it. What leaves
        // VRAM is waited for by all memory management: everything that uses the buffer goes first.
        let usage: FenceUsage = source?.placement == .vram ? .bookkeep : .kernel
        let earlier = source == nil ? [] : buffer.reservation.fences(usage)
        let move = BufferMove(
            buffer: buffer, source: source, destination: destination,
            dependencies: earlier + leaving)
        guard source != nil || !leaving.isEmpty else {
            var step = 0
            while !move.execute(step: &step) {}
            buffer.setFrames(destination)
            return nil
        }
        do throws(ReservationError) {
            try buffer.reservation.reserve(1)
        } catch {
            preconditionFailure("one slot is a number of slots")
        }
        let fence = try migrator.submit(move)
        buffer.reservation.add(fence, usage: .kernel)
        buffer.setFrames(destination)
        return fence
    }

    // MARK: the lists

    private func insert(_ buffer: BufferObject, in region: MemoryRegion, _ state: inout State) {
        buffer.lruNode.isHidden = region !== memory.vram
        if buffer.lruNode.isHidden {
            state.hiddenLRU.insert(buffer)
        } else {
            state.lru.insert(buffer)
        }
    }

    private func remove(_ node: LRUNode, _ state: inout State) {
        if node.isHidden { state.hiddenLRU.remove(node) } else { state.lru.remove(node) }
    }

    /// The buffer's memory goes: nobody holds it any more, and no page table or TLB leads to it.
    func forget(_ buffer: BufferObject) {
        guard let frames = buffer.frames else { return }
        for extent in frames.extents { frames.region.clear(extent) }
        state.withLock { state in
            frames.region.release(frames.extents, after: nil)
            remove(buffer.lruNode, &state)
            if frames.placement != buffer.wantedPlacement {
                state.statistics.evictedBuffers -= 1
            }
        }
    }

    // MARK: buffers that go

    /// A buffer has been forgotten, and its reference finds it no more.
    func noteGone() {
        state.withLock { $0.gone += 1 }
        someoneWent.broadcast()
    }

    /// Returns when all of `references` are over and their frames are free, or at the deadline.
    ///
    /// Threading: outside of signalling sections, without locks.
    public func wait(for references: [BufferReference], deadline: UInt64) {
        SignallingSection.assertOutside("a wait for buffers to go")
        while true {
            let gone = state.withLock { $0.gone }
            guard !references.allSatisfy(\.isOver) else { return }
            let next = state.wait(on: someoneWent, deadline: deadline) {
                $0.gone == gone ? nil : true
            }
            guard next != nil else { return }
        }
    }

    // MARK: weak references

    /// Keeps a buffer that lost its last hard reference until ``takeUnheld()``, if a VM maps it.
    func noteUnheld(_ buffer: BufferObject) {
        guard !buffer.vms.isEmpty else { return }
        state.withLock { $0.unheld.append(buffer) }
    }

    /// The buffers that nobody holds and VMs with weak references still map, once.
    public func takeUnheld() -> [BufferObject] {
        state.withLock { state in
            defer { state.unheld = [] }
            return state.unheld
        }
    }
}
