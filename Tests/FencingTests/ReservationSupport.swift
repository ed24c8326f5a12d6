import Fencing
import Glibc

/// What a thread under test came to.
final class Outcome<Value: Sendable>: Sendable {
    private let value = Guarded<Value?>(.leaf, nil)
    private let arrived = Condition()

    func set(_ new: Value) {
        value.withLock { $0 = new }
        arrived.broadcast()
    }

    /// The value; nil if there is none after so many seconds.
    func wait(seconds: UInt64 = 10) -> Value? {
        value.wait(on: arrived, deadline: Runtime.deadline(after: seconds * 1_000_000_000)) { $0 }
    }
}

/// How one attempt to lock a reservation ended.
enum LockResult: Equatable, Sendable {
    case locked
    case failed(ReservationError)

    init(_ body: () throws(ReservationError) -> Void) {
        do throws(ReservationError) {
            try body()
            self = .locked
        } catch {
            self = .failed(error)
        }
    }
}

/// A thread that locks `held`, then `wanted`, and gives up what it got when it is told to.
final class Locker: Sendable {
    let context: AcquireContext
    let result = Outcome<LockResult>()
    private let isReleased = Guarded(.leaf, false)
    private let released = Condition()
    private let thread: Outcome<Bool>

    init(
        _ context: AcquireContext, holding held: [Reservation] = [], wants wanted: Reservation,
        slow: Bool = false
    ) {
        self.context = context
        thread = Outcome()
        let started = RuntimeThread.start(name: "locker") { [self] in
            for reservation in held where !reservation.tryLock(context) {
                result.set(.failed(.alreadyLocked))
                return
            }
            let outcome = LockResult { () throws(ReservationError) in
                if slow { try wanted.lockSlow(context) } else { try wanted.lock(context) }
            }
            result.set(outcome)
            if outcome == .locked {
                _ = isReleased.wait(on: released) { $0 ? true : nil }
                wanted.unlock(context)
            }
            for reservation in held.reversed() { reservation.unlock(context) }
            thread.set(true)
        }
        started?.detach()
    }

    func release() {
        isReleased.withLock { $0 = true }
        released.broadcast()
    }

    /// Whether it comes to wait for the reservation.
    func isWaiting(for reservation: Reservation) -> Bool {
        eventually { reservation.contention.waiters.contains(context.stamp) }
    }

    /// Whether the thread ended.
    func end() -> Bool {
        release()
        return thread.wait() ?? false
    }
}

/// Whether something that another thread does is seen within 10 s.
func eventually(_ condition: () -> Bool) -> Bool {
    let deadline = Runtime.deadline(after: 10_000_000_000)
    while !condition() {
        if Runtime.now() > deadline { return false }
        sched_yield()
    }
    return true
}
