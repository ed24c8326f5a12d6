import Fencing
import Testing

/// A thread of a test, whose error comes back with ``join()``.
final class Worker: Sendable {
    private let thread: RuntimeThread?
    private let failure: Box

    private final class Box: Sendable {
        let error = Guarded<(any Error)?>(.leaf, nil)
    }

    init(_ body: @escaping @Sendable () throws -> Void) {
        let box = Box()
        failure = box
        thread = RuntimeThread.start(name: "test-worker") {
            do { try body() } catch { box.error.withLock { $0 = error } }
        }
    }

    /// Returns when the thread has ended.
    func join() throws {
        try #require(thread).join()
        if let error = failure.error.withLock({ $0 }) { throw error }
    }
}
