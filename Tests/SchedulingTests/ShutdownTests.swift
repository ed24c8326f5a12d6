import Fencing
import Glibc
import Scheduling
import Testing

@Suite struct ShutdownTests {
    @Test func gracefulFinishesWhatCanRun() throws {
        let engine = try EngineScheduler(name: "test", workers: 2)
        let never = FenceContext().makeFence()
        let first = JobQueue(engine, name: "first")
        let second = JobQueue(engine, name: "second")
        let stuck = JobQueue(engine, name: "stuck")
        let gate = Gate()
        let held = try gate.hold(engine)
        var finished: [Fence] = []
        for i in 0..<10 {
            let job = Job(body: ScriptedBody { _, run in run < i ? .yield : .done })
            // Becomes runnable through what still runs.
            if let last = finished.last { job.addDependency(last) }
            finished.append(try (i % 2 == 0 ? first : second).submit(job))
        }
        let job = Job(body: ScriptedBody())
        job.addDependency(never)
        let waiting = try stuck.submit(job)
        gate.open()
        engine.shutdown(gracefulUntil: soon())
        #expect(held.isSignalled)
        #expect(finished.allSatisfy { $0.isSignalled && $0.error == 0 })
        #expect(waiting.isSignalled)
        #expect(waiting.error == ECANCELED)
        #expect(throws: SchedulingError.engineStopped) {
            try first.submit(Job(body: ScriptedBody()))
        }
        #expect(throws: SchedulingError.engineStopped) {
            try stuck.submit(Job(body: ScriptedBody()))
        }
        engine.shutdown()
        let jobs = engine.currentStatistics.jobs
        #expect(jobs.submitted == 12 && jobs.completed == 11 && jobs.cancelled == 1)
    }

    @Test func theRestIsCancelledAtTheDeadline() throws {
        let engine = try EngineScheduler(name: "test", workers: 2)
        var fences: [Fence] = []
        for i in 0..<3 {
            let queue = JobQueue(engine, name: "loop \(i)")
            for _ in 0..<3 {
                fences.append(try queue.submit(Job(body: ScriptedBody { _, _ in .yield })))
            }
            let waiter = JobQueue(engine, name: "wait \(i)")
            fences.append(
                try waiter.submit(Job(body: ScriptedBody { _, _ in .blocked(recheckAfter: 0) })))
        }
        engine.shutdown(gracefulUntil: Runtime.deadline(after: 5_000_000))
        #expect(fences.allSatisfy { $0.isSignalled && $0.error == ECANCELED })
    }

    @Test func manyStoppedAndArmedQueuesDoNotHoldItUp() throws {
        let engine = try EngineScheduler(name: "test")
        let gate = Gate()
        _ = try gate.hold(engine)
        let queues = (0..<6).map { JobQueue(engine, name: "\($0)", priority: .realtime) }
        var fences: [Fence] = []
        for queue in queues { fences.append(try queue.submit(Job(body: ScriptedBody()))) }
        for queue in queues.prefix(4) { queue.kill() }
        let armed = queues.suffix(2).map { _ in Job(body: ScriptedBody()) }
        let late = (0..<2).map { JobQueue(engine, name: "armed \($0)") }
        for (queue, job) in zip(late, armed) { fences.append(try queue.arm(job)) }
        let pusher = try #require(
            RuntimeThread.start(name: "pusher") {
                for (queue, job) in zip(late, armed) {
                    // Only after the shutdown has closed the queue.
                    _ = yieldUntil { queue.status.state == .closed }
                    queue.push(job)
                }
            })
        gate.open()
        engine.shutdown()
        pusher.join()
        #expect(fences.allSatisfy { $0.isSignalled })
        #expect(fences.suffix(2).allSatisfy { $0.error == ECANCELED })
    }
}
