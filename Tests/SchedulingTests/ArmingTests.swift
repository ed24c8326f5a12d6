import Fencing
import Glibc
import Scheduling
import Testing

/// The place in the queue is taken before the job may run.
@Suite struct ArmingTests {
    @Test func armingFixesTheOrder() throws {
        try withEngine { engine in
            let log = EventLog()
            let queue = JobQueue(engine, name: "q")
            let jobs = (0..<3).map { i in
                Job(
                    body: ScriptedBody { _, _ in
                        log.add("\(i)")
                        return .done
                    })
            }
            let fences = try jobs.map { try queue.arm($0) }
            queue.push(jobs[2])
            queue.push(jobs[1])
            let other = try JobQueue(engine, name: "other").submit(Job(body: ScriptedBody()))
            #expect(other.wait(deadline: soon()))
            #expect(log.all.isEmpty)
            #expect(queue.status.activity == .waiting)
            #expect(queue.status.pendingJobs == 3)
            queue.push(jobs[0])
            for fence in fences { #expect(fence.wait(deadline: soon())) }
            #expect(log.all == ["0", "1", "2"])
        }
    }

    @Test func anAbandonedJobEndsInItsTurn() throws {
        try withEngine { engine in
            let queue = JobQueue(engine, name: "q")
            let bodies = (0..<3).map { _ in ScriptedBody() }
            let jobs = bodies.map { Job(body: $0) }
            let fences = try jobs.map { try queue.arm($0) }
            queue.abandon(jobs[1])
            queue.push(jobs[2])
            #expect(!fences[1].isSignalled)
            queue.push(jobs[0])
            for fence in fences { #expect(fence.wait(deadline: soon())) }
            #expect(fences.map(\.error) == [0, ECANCELED, 0])
            #expect(bodies.map { $0.runs.load(ordering: .relaxed) } == [1, 0, 1])
            #expect(queue.waitUntilIdle(deadline: soon()))
            #expect(bodies.map { $0.releases.load(ordering: .relaxed) } == [1, 1, 1])
            #expect(queue.status.state == .active)
        }
    }

    @Test func aJobArmedBeforeTheCloseEndsAtItsPush() throws {
        try withEngine { engine in
            let queue = JobQueue(engine, name: "q")
            let pushed = ScriptedBody()
            let jobs = [Job(body: pushed), Job(body: ScriptedBody())]
            let fences = try jobs.map { try queue.arm($0) }
            queue.push(jobs[1])
            queue.close()
            #expect(!queue.waitUntilIdle(deadline: Runtime.now()))
            #expect(fences.allSatisfy { !$0.isSignalled })
            #expect(pushed.completions.load(ordering: .relaxed) == 0)
            queue.push(jobs[0])
            #expect(queue.waitUntilIdle(deadline: soon()))
            #expect(fences.map(\.error) == [ECANCELED, ECANCELED])
            #expect(pushed.runs.load(ordering: .relaxed) == 0)
            #expect(pushed.completions.load(ordering: .relaxed) == 1)
        }
    }

    @Test func aRefusedJobCanGoElsewhere() throws {
        try withEngine { engine in
            let closed = JobQueue(engine, name: "closed")
            closed.close()
            let job = Job(body: ScriptedBody())
            #expect(throws: SchedulingError.closed) { try closed.submit(job) }
            #expect(job.fence == nil)
            let fence = try JobQueue(engine, name: "open").submit(job)
            #expect(fence.wait(deadline: soon()))
            #expect(fence.error == 0)
        }
    }
}
