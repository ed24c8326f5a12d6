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

    /// Blocks until the lock at `address` is the caller's.
    func lock(_ address: UnsafeRawPointer)

    /// Takes the lock at `address` if it is free.
    func tryLock(_ address: UnsafeRawPointer) -> Bool

    /// Gives up the lock at `address`.
    func unlock(_ address: UnsafeRawPointer)

    /// Gives up `lock`, parks on `condition`, and takes `lock` again; false when the deadline (ns)
    /// passed first.
    func wait(
        condition: UnsafeRawPointer, lock: UnsafeRawPointer, deadline: UInt64?
    ) -> Bool

    /// Wakes one or all threads parked on `condition`.
    func wake(condition: UnsafeRawPointer, all: Bool)
}
