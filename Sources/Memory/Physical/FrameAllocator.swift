import Fencing

/// A buddy allocator that remembers which free frames a move has still to leave.
///
/// An evicted buffer's frames are free for planning at once; that they have really lost their owner
/// is what the move's fence says. Who gets them makes that fence a dependency, so that nobody waits.
/// Source: the pipelined moves of TTM (drivers/gpu/drm/ttm/ttm_bo_util.c), which keep such fences by
/// memory manager and not by frame.
///
/// Threading: none of its own; ``MemoryRegion`` calls it under its lock.
struct FrameAllocator: ~Copyable {
    struct Grant {
        var runs: [BuddyAllocator.Run]
        var leaving: [Fence]
    }

    private struct Departure {
        var run: BuddyAllocator.Run
        var fence: Fence
    }

    private(set) var buddy: BuddyAllocator
    private var departures: [Departure] = []

    init(buddy: consuming BuddyAllocator) { self.buddy = buddy }

    /// Takes `count` frames; nil, with nothing taken, if fewer are free.
    ///
    /// Complexity: O(blocks · log frames + runs · pending moves).
    mutating func allocate(_ count: UInt32) -> Grant? {
        guard let runs = buddy.allocate(count) else { return nil }
        var leaving: [Fence] = []
        departures.removeAll { $0.fence.isSignalled }
        for departure in departures where runs.contains(where: { $0.overlaps(departure.run) }) {
            if !leaving.contains(where: { $0 === departure.fence }) {
                leaving.append(departure.fence)
            }
        }
        return Grant(runs: runs, leaving: leaving)
    }

    /// Gives a run back, which is in use until `fence` signals.
    mutating func release(_ run: BuddyAllocator.Run, after fence: Fence?) {
        buddy.free(run)
        guard let fence, !fence.isSignalled else { return }
        departures.append(Departure(run: run, fence: fence))
    }
}

extension BuddyAllocator.Run {
    fileprivate func overlaps(_ other: BuddyAllocator.Run) -> Bool {
        first < other.first + other.count && other.first < first + count
    }
}
