import Fencing
import Testing

@Suite(.timeLimit(.minutes(2))) struct CancellationTests {
    /// Nothing is left behind: no waiter, no lock, and the next one gets its turn.
    @Test(arguments: [false, true]) func aWaitEnds(slow: Bool) throws {
        let (r, x) = (Reservation(), Reservation())
        let cancellation = Cancellation()
        let context = AcquireContext(cancellation: cancellation)
        let owner = r.lock()
        let locker = Locker(context, holding: slow ? [] : [x], wants: r, slow: slow)
        #expect(locker.isWaiting(for: r))
        #expect(!cancellation.isCancelled)
        cancellation.cancel()
        let result = locker.result.wait(seconds: 5)
        #expect(result == .failed(.interrupted))
        #expect(r.contention.owner == owner.stamp)
        #expect(r.contention.waiters.isEmpty)
        r.unlock(owner)
        #expect(locker.end())
        #expect(!x.isLocked)
        let next = r.lock()
        r.unlock(next)
        #expect(cancellation.isCancelled)
    }

    /// As a pending signal in the kernel: it ends waits, and what needs no wait still succeeds.
    @Test func cancelledBefore() throws {
        let r = Reservation()
        let cancellation = Cancellation()
        cancellation.cancel()
        cancellation.cancel()
        let context = AcquireContext(cancellation: cancellation)
        try r.lock(context)
        #expect(r.isLocked(by: context))
        r.unlock(context)
        let owner = r.lock()
        for slow in [false, true] {
            let locker = Locker(
                AcquireContext(cancellation: cancellation), wants: r, slow: slow)
            let result = locker.result.wait(seconds: 5)
            #expect(result == .failed(.interrupted))
        }
        #expect(eventually { r.contention.waiters.isEmpty })
        r.unlock(owner)
    }

    /// Whoever backs off anyway hears of the cancellation, and not of the deadlock.
    @Test func interruptedBeforeDeadlock() throws {
        let (r, x) = (Reservation(), Reservation())
        let older = AcquireContext()
        let cancellation = Cancellation()
        cancellation.cancel()
        try r.lock(older)
        let locker = Locker(
            AcquireContext(cancellation: cancellation), holding: [x], wants: r)
        #expect(locker.result.wait() == .failed(.interrupted))
        r.unlock(older)
        #expect(locker.end())
    }

    @Test func oneEndsManyWaits() throws {
        let reservations = (0..<3).map { _ in Reservation() }
        let owner = AcquireContext()
        for reservation in reservations { try reservation.lock(owner) }
        let cancellation = Cancellation()
        let cancelled = (0..<6).map { index in
            Locker(
                AcquireContext(cancellation: cancellation), wants: reservations[index % 3])
        }
        let other = Locker(
            AcquireContext(cancellation: Cancellation()), wants: reservations[0])
        for (index, locker) in cancelled.enumerated() {
            #expect(locker.isWaiting(for: reservations[index % 3]))
        }
        #expect(other.isWaiting(for: reservations[0]))
        cancellation.cancel()
        for locker in cancelled {
            #expect(locker.result.wait(seconds: 5) == .failed(.interrupted))
        }
        #expect(reservations[0].contention.waiters == [other.context.stamp])
        for reservation in reservations { reservation.unlock(owner) }
        #expect(other.result.wait() == .locked)
        #expect(other.end())
        for locker in cancelled { #expect(locker.end()) }
    }

    /// The lock is given up while its oldest waiter is being cancelled: if that one had its turn
    /// and leaves, the next one must get it. Either the first gets the lock or it is interrupted.
    @Test func theTurnIsPassedOn() throws {
        for round in 0..<300 {
            let r = Reservation()
            let owner = r.lock()
            let cancellation = Cancellation()
            let first = Locker(AcquireContext(cancellation: cancellation), wants: r)
            let second = Locker(AcquireContext(), wants: r)
            try #require(first.isWaiting(for: r) && second.isWaiting(for: r))
            let canceller = RuntimeThread.start(name: "cancel") { cancellation.cancel() }
            r.unlock(owner)
            canceller?.join()
            switch first.result.wait() {
            case .failed(.interrupted), .locked: break
            default: Issue.record("round \(round): neither locked nor interrupted")
            }
            try #require(first.end(), "round \(round)")
            try #require(second.result.wait() == .locked, "round \(round)")
            try #require(second.end(), "round \(round)")
        }
    }
}
