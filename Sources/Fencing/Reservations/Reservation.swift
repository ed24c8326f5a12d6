extension LockClass {
    /// The state behind a reservation's wait/wound lock: held for a few instructions only, and
    /// inside any number of wait/wound locks.
    static let reservationState = LockClass(
        "reservation-state", rank: 41, signallingSafe: false)
}

// @unchecked: everything mutable is in `state`.
/// The lock of a buffer (or of all private buffers of one VM) and the fences of the work on it.
///
/// The lock is of the wait/wound kind, with the rule that the kernel uses for reservations
/// ("wait-die"): who holds other reservations waits only for younger contexts, and is told to back
/// off (``ReservationError/deadlock``) before an older one. Waiters take the lock oldest first.
///
/// Source: drivers/dma-buf/dma-resv.c, Documentation/locking/ww-mutex-design.rst.
///
/// Threading: any thread; unlocked by the thread that locked.
public final class Reservation: @unchecked Sendable {
    struct Slot {
        var fence: Fence
        var usage: FenceUsage
    }

    private struct State: ~Copyable {
        /// The stamp of the owner; 0 while the lock is free.
        var owner: UInt64 = 0
        /// The owner's context; nil also for an owner that locked without one.
        var context: AcquireContext?
        /// The stamps of those who wait, in no order.
        var waiters: [UInt64] = []
        var fences: [Slot] = []
        /// How many fences may be there before the next reservation of slots.
        var reservedCount = 0
    }

    private let state = Guarded(.reservationState, State())
    private let released = Condition()

    /// Creates an unlocked reservation without fences.
    public init() {}

    // MARK: - The lock

    /// Blocks until the lock is the context's.
    ///
    /// - Throws: ``ReservationError/alreadyLocked`` if the context holds it,
    ///   ``ReservationError/deadlock`` if the context holds others and an older one has or wants it.
    public func lock(_ context: AcquireContext) throws(ReservationError) {
        context.willAcquire()
        try acquire(context, stamp: context.stamp, mayDie: context.heldCount > 0)
        context.didAcquire()
    }

    /// Blocks until the lock is the context's, after a back-off: the context holds nothing, so that
    /// nobody can wait for it meanwhile.
    public func lockSlow(_ context: AcquireContext) {
        precondition(context.heldCount == 0, "back off before waiting for a contended reservation")
        context.willAcquire()
        // Without other locks held there is no error: nothing to die for, nothing held twice.
        try? acquire(context, stamp: context.stamp, mayDie: false)
        context.didAcquire()
    }

    /// Locks a single reservation: blocks, never backs off. The caller holds no other reservation.
    ///
    /// - Returns: What ``unlock(_:)`` takes.
    public func lock() -> AcquireContext {
        let context = AcquireContext()
        lockSlow(context)
        return context
    }

    /// Takes the lock if it is free and nobody waits for it.
    public func tryLock(_ context: AcquireContext) -> Bool {
        let taken = state.withLock { state in
            guard state.owner == 0, state.waiters.isEmpty else { return false }
            state.owner = context.stamp
            state.context = context
            return true
        }
        if taken { context.didAcquire() }
        return taken
    }

    /// Gives the lock up; a programming error unless the context holds it.
    public func unlock(_ context: AcquireContext) {
        state.withLock { state in
            precondition(state.context === context, "unlocked by a context that does not hold it")
            state.owner = 0
            state.context = nil
            // Slots that were reserved and not used end with the lock.
            state.reservedCount = state.fences.count
        }
        released.broadcast()
        context.didRelease()
    }

    /// Whether some context holds the lock at this moment.
    public var isLocked: Bool { state.withLock { $0.owner != 0 } }

    /// Whether this context holds the lock.
    public func isLocked(by context: AcquireContext) -> Bool {
        state.withLock { $0.context === context }
    }

    /// Traps in debug builds unless some context holds the lock.
    @inline(__always)
    public func assertLocked() {
        #if DEBUG
            precondition(isLocked, "the reservation must be locked")
        #endif
    }

    private enum Attempt {
        case taken
        case alreadyHeld
        case mustDie
    }

    private func acquire(
        _ context: AcquireContext, stamp: UInt64, mayDie: Bool
    ) throws(ReservationError) {
        var isWaiting = false
        let attempt = state.wait(on: released) { (state: inout State) -> Attempt? in
            if state.context === context { return .alreadyHeld }
            var oldest = UInt64.max
            for waiter in state.waiters { oldest = min(oldest, waiter) }
            // A free lock belongs to its oldest waiter, who is being woken.
            let rival = state.owner != 0 ? state.owner : oldest
            let result: Attempt
            if state.owner == 0 && stamp <= oldest {
                state.owner = stamp
                state.context = context
                result = .taken
            } else if mayDie && rival < stamp {
                result = .mustDie
            } else {
                if !isWaiting {
                    isWaiting = true
                    state.waiters.append(stamp)
                }
                return nil
            }
            if isWaiting, let index = state.waiters.firstIndex(of: stamp) {
                state.waiters.swapAt(index, state.waiters.count - 1)
                state.waiters.removeLast()
            }
            return result
        }
        switch attempt {
        case .alreadyHeld: throw .alreadyLocked
        case .mustDie:
            // The next waiter may have been waiting for this one to take its turn.
            if isWaiting { released.broadcast() }
            throw .deadlock
        case .taken, nil: return
        }
    }

    // MARK: - The fences

    /// Makes room for `count` more fences, so that adding them allocates nothing.
    ///
    /// The lock is held.
    ///
    /// - Throws: ``ReservationError/noSlots`` for 0 or less.
    public func reserve(_ count: Int) throws(ReservationError) {
        guard count > 0 else { throw .noSlots }
        state.withLock { state in
            precondition(state.owner != 0, "slots are reserved under the reservation's lock")
            state.fences.removeAll { $0.fence.isSignalled }
            state.reservedCount = max(state.reservedCount, state.fences.count + count)
            state.fences.reserveCapacity(state.reservedCount)
        }
    }

    /// Adds a fence to a slot reserved before; an earlier fence of the same context, or one that
    /// has signalled, gives its slot up. The lock is held.
    public func add(_ fence: Fence, usage: FenceUsage) {
        state.withLock { state in
            precondition(state.owner != 0, "fences are added under the reservation's lock")
            for i in state.fences.indices {
                let old = state.fences[i]
                let superseded =
                    old.fence.context == fence.context && old.usage >= usage
                    && old.fence.sequenceNumber <= fence.sequenceNumber
                if superseded || old.fence.isSignalled {
                    state.fences[i] = Slot(fence: fence, usage: usage)
                    return
                }
            }
            precondition(
                state.fences.count < state.reservedCount, "a fence was added without a slot")
            state.fences.append(Slot(fence: fence, usage: usage))
        }
    }

    /// The fences of `usage` and below that have not signalled yet, a snapshot.
    public func fences(_ usage: FenceUsage) -> [Fence] {
        state.withLock { state in
            state.fences.compactMap { $0.usage <= usage && !$0.fence.isSignalled ? $0.fence : nil }
        }
    }

    /// The fence of this context and sequence number, and the usage it was added with.
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
