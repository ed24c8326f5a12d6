// The fences of the work on a reservation's memory, added to slots that were reserved before.
extension Reservation {
    /// Makes room for `count` more fences, so that adding them allocates nothing.
    ///
    /// The lock is held, and the room lasts until it is given up. Two calls do not add up: the
    /// larger one counts, as in the kernel. O(fences).
    ///
    /// - Throws: ``ReservationError/noSlots`` for 0 or less.
    public func reserve(_ count: Int) throws(ReservationError) {
        guard count > 0 else { throw .noSlots }
        state.withLock { state in
            precondition(state.owner != nil, "slots are reserved under the reservation's lock")
            state.fences.removeAll { $0.fence.isSignalled }
            state.reservedCount = max(state.reservedCount, state.fences.count + count)
            state.fences.reserveCapacity(state.reservedCount)
            state.isPrepared = true
        }
    }

    /// Whether the context holds the lock, with room for `count` more fences.
    public func isPrepared(_ count: Int, by context: AcquireContext) -> Bool {
        state.withLock { state in
            state.owner === context && state.reservedCount - state.fences.count >= count
        }
    }

    /// Adds a fence to a slot reserved before; an earlier fence of the same context, or one that
    /// has signalled, gives its slot up. The lock is held. O(fences).
    public func add(_ fence: Fence, usage: FenceUsage) {
        state.withLock { state in
            precondition(state.owner != nil, "fences are added under the reservation's lock")
            state.add(fence, usage)
        }
    }

    /// Adds a fence if slots were reserved since the lock was taken, and says whether.
    public func addIfPrepared(_ fence: Fence, usage: FenceUsage) -> Bool {
        state.withLock { state in
            precondition(state.owner != nil, "fences are added under the reservation's lock")
            if state.isPrepared { state.add(fence, usage) }
            return state.isPrepared
        }
    }

    /// The fences of `usage` and below that have not signalled yet, a snapshot.
    public func fences(_ usage: FenceUsage) -> [Fence] {
        state.withLock { state in
            state.fences.compactMap { $0.usage <= usage && !$0.fence.isSignalled ? $0.fence : nil }
        }
    }

    /// The usage that a fence was added with; nil if it is not here.
    public func usage(of fence: Fence) -> FenceUsage? {
        state.withLock { state in state.fences.first { $0.fence === fence }?.usage }
    }

    /// Whether all fences of `usage` and below have signalled.
    public func isIdle(_ usage: FenceUsage) -> Bool {
        state.withLock { state in
            state.fences.allSatisfy { $0.usage > usage || $0.fence.isSignalled }
        }
    }
}

extension Reservation.State {
    /// Source: `dma_resv_add_fence` (drivers/dma-buf/dma-resv.c).
    mutating func add(_ fence: Fence, _ usage: FenceUsage) {
        for i in fences.indices {
            let old = fences[i]
            let superseded =
                old.fence.context == fence.context && old.usage >= usage
                && old.fence.sequenceNumber <= fence.sequenceNumber
            if superseded || old.fence.isSignalled {
                fences[i] = Reservation.Slot(fence: fence, usage: usage)
                return
            }
        }
        precondition(fences.count < reservedCount, "a fence was added without a slot")
        fences.append(Reservation.Slot(fence: fence, usage: usage))
    }
}
