extension LockClass {
    /// The state behind a reservation's wait/wound lock: held for a few instructions only, and
    /// inside any number of wait/wound locks.
    static let reservationState = LockClass(
        "reservation-state", rank: 41, signallingSafe: false)
}

// @unchecked: everything mutable is in `state`.
/// The lock of a buffer (or of all private buffers of one VM) and the fences of the work on it.
///
/// The lock is of the wait/wound kind, with the rule that the kernel's reservation class uses
/// ("wait-die"). A context that holds other reservations may only wait while nobody older has the
/// lock or waits for it; else it is told to back off (``ReservationError/deadlock``), also in the
/// middle of a wait, when somebody older comes. So everybody who waits with reservations in hand
/// waits for younger ones, which excludes a cycle, and the oldest context of all never backs off,
/// which excludes starvation. The rule does not concern who holds nothing else: nobody can wait for
/// such a context. The lock goes to its oldest waiter.
///
/// Unlike the kernel's, a lock without a context is that of a new context: its turn comes after
/// those that came before, and before those that come later, as long as they are not older.
///
/// Source: kernel/locking/ww_mutex.h (`__ww_mutex_check_kill`, `__ww_mutex_add_waiter`,
/// `__ww_mutex_die`), Documentation/locking/ww-mutex-design.rst, drivers/dma-buf/dma-resv.c.
///
/// Threading: any thread; unlocked by the thread that locked.
public final class Reservation: @unchecked Sendable {
    struct Slot {
        var fence: Fence
        var usage: FenceUsage
    }

    struct Waiter {
        var stamp: UInt64
        /// It holds other reservations, so it dies when somebody older comes.
        var mayDie: Bool
    }

    struct State: ~Copyable {
        /// The context that holds the lock.
        var owner: AcquireContext?
        /// Who waits, in no order.
        var waiters: [Waiter] = []
        var fences: [Slot] = []
        /// How many fences may be there before the next reservation of slots.
        var reservedCount = 0
        /// Slots were reserved since the lock was taken.
        var isPrepared = false

        func oldestWaiter(but stamp: UInt64) -> UInt64 {
            var oldest = UInt64.max
            for waiter in waiters where waiter.stamp != stamp { oldest = min(oldest, waiter.stamp) }
            return oldest
        }
    }

    let state = Guarded(.reservationState, State())
    private let released = Condition()

    /// Creates an unlocked reservation without fences.
    public init() {}

    // MARK: - Locking

    /// Blocks until the lock is the context's.
    ///
    /// - Throws: ``ReservationError/alreadyLocked`` if the context holds it,
    ///   ``ReservationError/deadlock`` if the context holds others and an older one has or wants it,
    ///   ``ReservationError/interrupted`` if the context was cancelled and would have to wait or to
    ///   back off.
    public func lock(_ context: AcquireContext) throws(ReservationError) {
        context.willAcquire(self)
        try acquire(context)
        context.didAcquire()
    }

    /// Blocks until the lock is the context's, after a back-off: the context holds nothing, so that
    /// nobody can wait for it meanwhile.
    ///
    /// - Throws: ``ReservationError/interrupted`` if the context was cancelled and would have to
    ///   wait; nothing else.
    public func lockSlow(_ context: AcquireContext) throws(ReservationError) {
        precondition(context.heldCount == 0, "back off before waiting for a contended reservation")
        try lock(context)
    }

    /// Locks a single reservation: blocks, never backs off. The caller holds no other reservation.
    ///
    /// - Returns: What ``unlock(_:)`` takes.
    public func lock() -> AcquireContext {
        let context = AcquireContext()
        context.willAcquire(self)
        do throws(ReservationError) {
            try acquire(context)
        } catch {
            preconditionFailure("a new context holds nothing and cannot be cancelled")
        }
        context.didAcquire()
        return context
    }

    /// Takes the lock if it is free and nobody waits for it.
    public func tryLock(_ context: AcquireContext) -> Bool {
        let taken = state.withLock { state in
            guard state.owner == nil, state.waiters.isEmpty else { return false }
            state.owner = context
            return true
        }
        if taken { context.didAcquire() }
        return taken
    }

    /// Gives the lock up; a programming error unless the context holds it.
    public func unlock(_ context: AcquireContext) {
        let isWanted = state.withLock { state in
            precondition(state.owner === context, "unlocked by a context that does not hold it")
            state.owner = nil
            // Slots that were reserved and not used end with the lock.
            state.reservedCount = state.fences.count
            state.isPrepared = false
            return !state.waiters.isEmpty
        }
        if isWanted { released.broadcast() }
        context.didRelease()
    }

    private enum Attempt {
        case taken
        case failed(ReservationError)
    }

    private func acquire(_ context: AcquireContext) throws(ReservationError) {
        let stamp = context.stamp
        let mayDie = context.heldCount > 0
        var isWaiting = false
        let attempt = state.wait(on: released) { (state: inout State) -> Attempt? in
            if state.owner === context { return .failed(.alreadyLocked) }
            let oldest = state.oldestWaiter(but: stamp)
            let result: Attempt
            // First of all: whoever is next takes its turn, so that leaving needs to wake nobody.
            if state.owner == nil && stamp < oldest {
                state.owner = context
                result = .taken
            } else if Self.isCancelled(context) {
                result = .failed(.interrupted)
            } else if mayDie && Self.isYounger(stamp, than: min(state.owner?.stamp ?? .max, oldest))
            {
                result = .failed(.deadlock)
            } else {
                if isWaiting { return nil }
                isWaiting = true
                context.cancellation?.beginWait(for: self)
                // Who is younger and holds reservations must not wait behind this context.
                let kills = state.waiters.contains { $0.mayDie && $0.stamp > stamp }
                state.waiters.append(Waiter(stamp: stamp, mayDie: mayDie))
                if kills { released.broadcast() }
                // Whoever cancelled before the wait was noted did not know of it.
                guard Self.isCancelled(context) else { return nil }
                result = .failed(.interrupted)
            }
            if isWaiting {
                context.cancellation?.endWait(for: self)
                state.waiters.removeAll { $0.stamp == stamp }
            }
            return result
        }
        guard case .failed(let error) = attempt else { return }
        if error == .deadlock { context.mustBackOff(from: self) }
        throw error
    }

    private static func isCancelled(_ context: AcquireContext) -> Bool {
        #if MUTANTS
            if Mutant.isPlanted("cancelIgnored") { return false }
        #endif
        return context.cancellation?.isCancelled ?? false
    }

    private static func isYounger(_ stamp: UInt64, than other: UInt64) -> Bool {
        #if MUTANTS
            if Mutant.isPlanted("olderDies") { return other != .max && stamp < other }
        #endif
        return stamp > other
    }

    /// Lets all who wait look again at the reason of their wait.
    func wakeWaiters() {
        // A waiter that found no reason to leave holds the state lock until it has parked.
        state.withLock { _ in }
        released.broadcast()
    }

    // MARK: - Questions

    /// Whether some context holds the lock at this moment.
    public var isLocked: Bool { state.withLock { $0.owner != nil } }

    /// Whether this context holds the lock.
    public func isLocked(by context: AcquireContext) -> Bool {
        state.withLock { $0.owner === context }
    }

    /// The stamps of the context that holds the lock and of those that wait for it, oldest first, a
    /// snapshot: who waits for whom.
    public var contention: (owner: UInt64?, waiters: [UInt64]) {
        state.withLock { ($0.owner?.stamp, $0.waiters.map(\.stamp).sorted()) }
    }

    /// Traps in debug builds unless some context holds the lock.
    @inline(__always)
    public func assertLocked() {
        #if DEBUG
            precondition(isLocked, "the reservation must be locked")
        #endif
    }
}
