import Synchronization

// @unchecked: the flag is atomic; the list is guarded.
/// The wish that somebody stops waiting for reservations: what a pending signal is to an
/// interruptible wait in the kernel.
///
/// Several contexts can share one. It cannot be taken back.
///
/// Threading: any thread.
public final class Cancellation: @unchecked Sendable {
    private let flag = Atomic<Bool>(false)
    /// The reservations that contexts with this cancellation wait for; one entry a waiter.
    private let waitedFor = Guarded<[Reservation]>(.leaf, [])

    /// Creates one that has not been asked for.
    public init() {}

    /// Whether ``cancel()`` was called.
    public var isCancelled: Bool { flag.load(ordering: .acquiring) }

    /// Ends every present and future wait of the contexts with this cancellation.
    ///
    /// A lock that needs no wait is still taken. O(waiters).
    ///
    /// Threading: takes the state lock of the reservations waited for, so no lock inside of
    /// ``LockClass/reservation`` may be held, and it is not for a ``SignallingSection``.
    public func cancel() {
        let woken = waitedFor.withLock { list in
            flag.store(true, ordering: .releasing)
            return list
        }
        for reservation in woken { reservation.wakeWaiters() }
    }

    /// Notes a wait that begins. The caller looks at ``isCancelled`` after it, and holds the
    /// reservation's state lock until it parks: either it sees the flag, or ``cancel()`` finds the
    /// entry, and its wake-up comes after the parking.
    func beginWait(for reservation: Reservation) {
        waitedFor.withLock { $0.append(reservation) }
    }

    func endWait(for reservation: Reservation) {
        waitedFor.withLock { list in
            guard let index = list.firstIndex(where: { $0 === reservation }) else {
                preconditionFailure("a wait ends that did not begin")
            }
            list.swapAt(index, list.count - 1)
            list.removeLast()
        }
    }
}
