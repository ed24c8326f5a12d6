import CPlatform
import Glibc

// @unchecked: the mutex lives behind a pointer that never changes; pthread synchronises it.
/// A mutual-exclusion lock with a ``LockClass``, at a stable address.
///
/// It is a pthread mutex and not `Synchronization.Mutex`, whose futex the thread sanitizer does not
/// understand on Linux. Debug builds assert, on every acquisition, that the lock order is kept and
/// that a ``SignallingSection`` takes only locks that it may.
///
/// Threading: any thread; the thread that locked must unlock. Not recursive. An uncontended
/// acquisition and release costs about 10 ns in a release build.
public struct Lock: ~Copyable, @unchecked Sendable {
    let mutex: UnsafeMutablePointer<pthread_mutex_t>
    /// The lock's place in the lock order.
    public let lockClass: LockClass

    /// Creates an unlocked lock of the given class.
    public init(_ lockClass: LockClass) {
        self.lockClass = lockClass
        mutex = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deinitialize(count: 1)
        mutex.deallocate()
    }

    /// Blocks until the lock is the caller's.
    @inline(__always)
    public func lock() {
        #if DEBUG
            HeldLocks.willAcquire(lockClass, at: mutex)
        #endif
        if let scheduler = Runtime.scheduler {
            scheduler.lock(mutex, of: lockClass)
        } else {
            pthread_mutex_lock(mutex)
        }
        #if DEBUG
            HeldLocks.didAcquire(lockClass, at: mutex)
        #endif
    }

    /// Takes the lock if that is possible at once.
    public func tryLock() -> Bool {
        let taken: Bool
        if let scheduler = Runtime.scheduler {
            taken = scheduler.tryLock(mutex, of: lockClass)
        } else {
            taken = pthread_mutex_trylock(mutex) == 0
        }
        #if DEBUG
            // A trylock cannot deadlock, so the order is not asserted, but what it holds counts.
            if taken { HeldLocks.didAcquire(lockClass, at: mutex) }
        #endif
        return taken
    }

    /// Gives the lock up.
    @inline(__always)
    public func unlock() {
        #if DEBUG
            HeldLocks.willRelease(at: mutex)
        #endif
        if let scheduler = Runtime.scheduler {
            scheduler.unlock(mutex)
        } else {
            pthread_mutex_unlock(mutex)
        }
    }

    /// Runs `body` with the lock held.
    @inline(__always)
    public func withLock<Result: ~Copyable, Failure: Error>(
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        lock()
        defer { unlock() }
        return try body()
    }

    /// Traps in debug builds unless the calling thread holds this lock.
    @inline(__always)
    public func assertHeld() {
        #if DEBUG
            precondition(
                HeldLocks.holds(mutex), "the caller must hold a lock of class \(lockClass.name)")
        #endif
    }
}
