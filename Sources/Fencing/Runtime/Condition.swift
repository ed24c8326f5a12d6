import Glibc

// @unchecked: the condition lives behind a pointer that never changes; pthread synchronises it.
/// A place to park while holding a ``Lock``, with absolute CLOCK_MONOTONIC deadlines.
///
/// Threading: any thread; every waiter of one condition uses the same lock. Wake-ups may be
/// spurious: wait in a loop over the guarded predicate.
public struct Condition: ~Copyable, @unchecked Sendable {
    private let condition: UnsafeMutablePointer<pthread_cond_t>

    /// Creates a condition without waiters.
    public init() {
        condition = .allocate(capacity: 1)
        condition.initialize(to: pthread_cond_t())
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        condition.deinitialize(count: 1)
        condition.deallocate()
    }

    /// Gives `lock` up, parks, and takes it again.
    ///
    /// - Parameters:
    ///   - lock: Held by the caller.
    ///   - deadline: Absolute, ns; nil waits for ever.
    /// - Returns: False when the deadline passed.
    @discardableResult
    public func wait(_ lock: borrowing Lock, deadline: UInt64? = nil) -> Bool {
        #if DEBUG
            HeldLocks.willRelease(at: lock.mutex)
            defer { HeldLocks.didAcquire(lock.lockClass, at: lock.mutex) }
        #endif
        if let scheduler = Runtime.scheduler {
            return scheduler.wait(condition: condition, lock: lock.mutex, deadline: deadline)
        }
        guard let deadline, deadline < UInt64(Int64.max) else {
            pthread_cond_wait(condition, lock.mutex)
            return true
        }
        var time = timespec(
            tv_sec: Int(deadline / 1_000_000_000), tv_nsec: Int(deadline % 1_000_000_000))
        return pthread_cond_timedwait(condition, lock.mutex, &time) != ETIMEDOUT
    }

    /// Wakes one waiter.
    public func signal() {
        if let scheduler = Runtime.scheduler {
            scheduler.wake(condition: condition, all: false)
        } else {
            pthread_cond_signal(condition)
        }
    }

    /// Wakes all waiters.
    public func broadcast() {
        if let scheduler = Runtime.scheduler {
            scheduler.wake(condition: condition, all: true)
        } else {
            pthread_cond_broadcast(condition)
        }
    }
}
