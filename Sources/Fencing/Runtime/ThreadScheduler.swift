/// A replacement for the operating system's threads, locks, parking and clock.
///
/// The only implementation outside of tests is none at all: without an installed scheduler every
/// primitive goes to pthread directly. A seeded cooperative scheduler implements this protocol so
/// that one seed gives one interleaving.
///
/// Threading: every method may be called from any thread that the scheduler runs.
public protocol ThreadScheduler: AnyObject, Sendable {
    /// The scheduler's CLOCK_MONOTONIC, in nanoseconds.
    func now() -> UInt64

    /// Runs `body` on a new thread and returns a token for ``join(_:)``.
    func start(name: String, body: @escaping @Sendable () -> Void) -> UInt64

    /// Returns when the thread behind `token` has ended.
    func join(_ token: UInt64)

    /// Blocks until the lock at `address`, a lock of that class, is the caller's.
    ///
    /// The memory at `address` is a pthread mutex that nobody else uses while the scheduler is
    /// installed: zero when it was made, and the scheduler's to keep its own state in.
    func lock(_ address: UnsafeMutableRawPointer, of lockClass: LockClass)

    /// Takes the lock at `address` if it is free.
    func tryLock(_ address: UnsafeMutableRawPointer, of lockClass: LockClass) -> Bool

    /// Gives up the lock at `address`.
    func unlock(_ address: UnsafeMutableRawPointer)

    /// Gives up `lock`, parks on `condition`, and takes `lock` again; false when the deadline (ns)
    /// passed first.
    func wait(
        condition: UnsafeRawPointer, lock: UnsafeMutableRawPointer, deadline: UInt64?
    ) -> Bool

    /// Wakes one or all threads parked on `condition`.
    func wake(condition: UnsafeRawPointer, all: Bool)
}
