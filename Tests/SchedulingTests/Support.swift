import Fencing
import Scheduling
import Synchronization
import Testing

/// A minute from now: no test waits longer, and none needs a hundredth of it.
func soon() -> UInt64 { Runtime.deadline(after: 60_000_000_000) }

/// What happened, in order.
final class EventLog: Sendable {
    private let events = Guarded<[String]>(.leaf, [])
    func add(_ event: String) { events.withLock { $0.append(event) } }
    var all: [String] { events.withLock { $0 } }
}

/// A body that does what a closure says and counts its hooks.
final class ScriptedBody: JobBody {
    let runs = Atomic<Int>(0)
    let resets = Atomic<Int>(0)
    let completions = Atomic<Int>(0)
    let releases = Atomic<Int>(0)
    let error = Atomic<Int32>(-1)
    private let script: @Sendable (inout JobSlice, Int) -> JobOutcome
    private let onCompleted: @Sendable (Int32) -> Void
    private let onReleased: @Sendable (Int32) -> Void

    init(
        _ script: @escaping @Sendable (inout JobSlice, Int) -> JobOutcome = { _, _ in .done },
        onCompleted: @escaping @Sendable (Int32) -> Void = { _ in },
        onReleased: @escaping @Sendable (Int32) -> Void = { _ in }
    ) {
        self.script = script
        self.onCompleted = onCompleted
        self.onReleased = onReleased
    }

    func run(_ slice: inout JobSlice) -> JobOutcome {
        script(&slice, runs.add(1, ordering: .relaxed).oldValue)
    }
    func reset(error: Int32) { resets.add(1, ordering: .relaxed) }
    func completed(error: Int32) {
        self.error.store(error, ordering: .relaxed)
        completions.add(1, ordering: .relaxed)
        onCompleted(error)
    }
    func released(error: Int32) {
        onReleased(error)
        releases.add(1, ordering: .relaxed)
    }
}

/// Keeps an engine's thread busy from its first slice until it is opened.
final class Gate: Sendable {
    let isOpen = Atomic<Bool>(false)
    func open() { isOpen.store(true, ordering: .releasing) }

    /// Occupies `scheduler` by a realtime job.
    func hold(_ scheduler: EngineScheduler) throws -> Fence {
        let queue = JobQueue(scheduler, name: "gate", priority: .realtime)
        return try queue.submit(
            Job(
                body: ScriptedBody { _, _ in
                    self.isOpen.load(ordering: .acquiring) ? .done : .yield
                }))
    }
}

/// An engine for one test, shut down at its end.
func withEngine(
    workers: Int = 1, configuration: SchedulerConfiguration = .init(), group: EngineGroup? = nil,
    _ body: (EngineScheduler) throws -> Void
) throws {
    let engine = try EngineScheduler(
        name: "test", workers: workers, configuration: configuration, group: group)
    defer { engine.shutdown() }
    try body(engine)
}

func yieldUntil(_ condition: () -> Bool) -> Bool {
    let deadline = soon()
    while !condition() { if Runtime.now() > deadline { return false } }
    return true
}

/// A shared number.
final class Counter: Sendable {
    let value = Atomic<Int>(0)
}
