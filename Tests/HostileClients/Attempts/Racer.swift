import Fencing
import Synchronization

/// A thread that does one thing again and again.
final class Racer: Sendable {
    private let body: @Sendable () -> Void
    private let isStopping = Atomic<Bool>(false)
    private let thread = Guarded<RuntimeThread?>(.leaf, nil)

    init(_ body: @escaping @Sendable () -> Void) { self.body = body }

    func start() {
        let started = RuntimeThread.start(name: "racer") { [self] in
            while !isStopping.load(ordering: .relaxed) { body() }
        }
        thread.withLock { $0 = started }
    }

    /// Returns when it has ended; harmless if it was never started.
    func stop() {
        isStopping.store(true, ordering: .relaxed)
        thread.withLock { thread in
            defer { thread = nil }
            return thread
        }?.join()
    }
}
