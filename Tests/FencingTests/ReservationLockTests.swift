import Fencing
import Glibc
import Testing

/// The rule of wait/wound, one situation at a time. Each wait is bounded: a wrong rule fails.
@Suite(.timeLimit(.minutes(2))) struct ReservationLockTests {
    @Test func theYoungerDiesBeforeAnOlderOwner() throws {
        let (a, b) = (Reservation(), Reservation())
        let cancellation = Cancellation()
        let older = AcquireContext()
        let younger = AcquireContext(cancellation: cancellation)
        try a.lock(older)
        let locker = Locker(younger, holding: [b], wants: a)
        let result = locker.result.wait()
        cancellation.cancel()
        #expect(result == .failed(.deadlock))
        #expect(a.contention.waiters.isEmpty)
        a.unlock(older)
        #expect(locker.end())
        #expect(!a.isLocked && !b.isLocked)
    }

    @Test func theOlderWaitsForAYoungerOwner() throws {
        let (a, b) = (Reservation(), Reservation())
        let older = AcquireContext()
        let younger = AcquireContext()
        try a.lock(younger)
        let locker = Locker(older, holding: [b], wants: a)
        #expect(locker.isWaiting(for: a))
        #expect(a.contention.owner == younger.stamp)
        a.unlock(younger)
        #expect(locker.result.wait() == .locked)
        #expect(locker.end())
    }

    /// With nothing else in hand nobody can be waiting for the younger one: it just waits.
    @Test func withoutOtherLocksTheYoungerWaits() throws {
        let a = Reservation()
        let older = AcquireContext()
        try a.lock(older)
        let locker = Locker(AcquireContext(), wants: a)
        #expect(locker.isWaiting(for: a))
        a.unlock(older)
        #expect(locker.result.wait() == .locked)
        #expect(locker.end())
    }

    /// The owner is the youngest of all, so the younger one may wait for it, until an older context
    /// comes to wait too: it would be in front, and the younger one dies while the owner still has
    /// the lock.
    @Test func aWaiterDiesWhenAnOlderOneComes() throws {
        let (r, x, y) = (Reservation(), Reservation(), Reservation())
        let oldest = AcquireContext()
        let middle = AcquireContext()
        let youngest = AcquireContext()
        try r.lock(youngest)
        let second = Locker(middle, holding: [x], wants: r)
        #expect(second.isWaiting(for: r))
        let first = Locker(oldest, holding: [y], wants: r)
        #expect(second.result.wait() == .failed(.deadlock))
        #expect(first.isWaiting(for: r))
        #expect(r.contention.owner == youngest.stamp)
        #expect(r.contention.waiters == [oldest.stamp])
        r.unlock(youngest)
        #expect(first.result.wait() == .locked)
        #expect(second.end() && first.end())
    }

    @Test func whoComesBehindAnOlderWaiterDiesAtOnce() throws {
        let (r, x) = (Reservation(), Reservation())
        let oldest = AcquireContext()
        let middle = AcquireContext()
        let youngest = AcquireContext()
        try r.lock(youngest)
        let first = Locker(oldest, wants: r)
        #expect(first.isWaiting(for: r))
        let second = Locker(middle, holding: [x], wants: r)
        #expect(second.result.wait() == .failed(.deadlock))
        r.unlock(youngest)
        #expect(first.result.wait() == .locked)
        #expect(second.end() && first.end())
    }

    /// Three waiters come in the order 2, 3, 1 of age and get the lock in the order 1, 2, 3.
    @Test func theOldestWaiterIsNext() throws {
        let r = Reservation()
        let owner = r.lock()
        let contexts = (0..<3).map { _ in AcquireContext() }
        var lockers: [Int: Locker] = [:]
        for index in [1, 2, 0] {
            let locker = Locker(contexts[index], wants: r)
            #expect(locker.isWaiting(for: r))
            lockers[index] = locker
        }
        #expect(r.contention.waiters == contexts.map(\.stamp))
        r.unlock(owner)
        for index in 0..<3 {
            let locker = try #require(lockers[index])
            #expect(locker.result.wait() == .locked)
            #expect(r.contention.owner == contexts[index].stamp)
            #expect(r.contention.waiters == contexts[(index + 1)...].map(\.stamp))
            #expect(locker.end())
        }
        #expect(r.contention == (nil, []) as (UInt64?, [UInt64]))
    }

    @Test func theSlowPathWaitsForAnOlderOwner() throws {
        let r = Reservation()
        let older = AcquireContext()
        try r.lock(older)
        let locker = Locker(AcquireContext(), wants: r, slow: true)
        #expect(locker.isWaiting(for: r))
        r.unlock(older)
        #expect(locker.result.wait() == .locked)
        #expect(locker.end())
    }

    @Test func aTryLockNeverWaits() throws {
        let r = Reservation()
        let context = AcquireContext()
        #expect(r.tryLock(context))
        #expect(!r.tryLock(context))
        #expect(!r.tryLock(AcquireContext()))
        #expect(throws: ReservationError.alreadyLocked) { try r.lock(context) }
        #expect(context.heldCount == 1)
        r.unlock(context)
        #expect(context.heldCount == 0)
    }

    @Test func errorNumbers() {
        // From asm-generic/errno.h.
        let expected: [(ReservationError, Int32)] = [
            (.deadlock, 35), (.alreadyLocked, 114), (.interrupted, 4), (.noSlots, 22),
        ]
        for (error, number) in expected { #expect(error.errno == number) }
    }

    @Test func slotsLastUntilTheUnlock() throws {
        let r = Reservation()
        let context = AcquireContext()
        try r.lock(context)
        let queue = FenceContext()
        #expect(!r.addIfPrepared(queue.makeFence(), usage: .read))
        try r.reserve(2)
        #expect(r.isPrepared(2, by: context) && !r.isPrepared(3, by: context))
        #expect(!r.isPrepared(1, by: AcquireContext()))
        // Two calls do not add up.
        try r.reserve(1)
        #expect(!r.isPrepared(3, by: context))
        let fence = queue.makeFence()
        #expect(r.addIfPrepared(fence, usage: .read))
        #expect(r.isPrepared(1, by: context) && !r.isPrepared(2, by: context))
        #expect(r.usage(of: fence) == .read)
        r.unlock(context)
        try r.lock(context)
        #expect(!r.isPrepared(1, by: context))
        #expect(!r.addIfPrepared(queue.makeFence(), usage: .read))
        r.unlock(context)
        fence.signal()
    }
}

#if DEBUG
    /// What a context may not do is noticed in debug builds.
    @Suite struct AcquireContextTests {
        @Test func blockingAfterDoneDies() async {
            await #expect(processExitsWith: .failure) {
                let context = AcquireContext()
                context.done()
                _ = LockResult { () throws(ReservationError) in try Reservation().lock(context) }
            }
        }

        @Test func aTryLockAfterDoneLives() async {
            await #expect(processExitsWith: .success) {
                let context = AcquireContext()
                context.done()
                let reservation = Reservation()
                if reservation.tryLock(context) { reservation.unlock(context) }
            }
        }

        @Test func anotherLockInsteadOfABackOffDies() async {
            await #expect(processExitsWith: .failure) {
                // Alone with two contexts: a wrong rule would wait for ever.
                alarm(20)
                let (a, b, c) = (Reservation(), Reservation(), Reservation())
                let older = AcquireContext()
                let younger = AcquireContext()
                // Both in one thread: the record of held locks has one entry for each context.
                guard a.tryLock(older), b.tryLock(younger) else { return }
                let first = LockResult { () throws(ReservationError) in try a.lock(younger) }
                guard first == .failed(.deadlock) else { return }
                _ = LockResult { () throws(ReservationError) in try c.lock(younger) }
            }
        }

        @Test func theSlowPathWithLocksInHandDies() async {
            await #expect(processExitsWith: .failure) {
                let context = AcquireContext()
                guard Reservation().tryLock(context) else { return }
                _ = LockResult { () throws(ReservationError) in
                    try Reservation().lockSlow(context)
                }
            }
        }

        @Test func aContextThatEndsWithLocksDies() async {
            await #expect(processExitsWith: .failure) {
                let reservation = Reservation()
                func leak() { _ = reservation.tryLock(AcquireContext()) }
                leak()
                _ = reservation.lock()
            }
        }

        @Test func aForeignUnlockDies() async {
            await #expect(processExitsWith: .failure) {
                let reservation = Reservation()
                guard reservation.tryLock(AcquireContext()) else { return }
                reservation.unlock(AcquireContext())
            }
        }
    }
#endif
