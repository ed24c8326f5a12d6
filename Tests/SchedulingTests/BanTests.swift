import Fencing
import Glibc
import Scheduling
import Synchronization
import Testing

/// Time-outs, faults, kill and close.
@Suite struct BanTests {
    private let milliseconds: UInt64 = 1_000_000

    @Test func aJobPastItsTimeOutBansItsQueueOnly() throws {
        try withEngine { engine in
            let timeout = 10 * milliseconds
            let bad = JobQueue(engine, name: "bad", jobTimeout: timeout)
            let loop = ScriptedBody { _, _ in .yield }
            let behind = ScriptedBody()
            let job = Job(body: loop)
            let first = try bad.submit(job)
            let second = try bad.submit(Job(body: behind))

            // The neighbour works on meanwhile and afterwards.
            let good = JobQueue(engine, name: "good")
            var neighbours: [Fence] = []
            for _ in 0..<20 {
                neighbours.append(
                    try good.submit(Job(body: ScriptedBody { _, run in run < 5 ? .yield : .done })))
            }
            #expect(first.wait(deadline: soon()))
            #expect(second.wait(deadline: soon()))
            #expect(first.error == ETIME)
            #expect(second.error == ECANCELED)
            #expect(first.timestamp <= second.timestamp)
            #expect(job.times.ended - job.times.started >= timeout)
            #expect(loop.resets.load(ordering: .relaxed) == 1)
            #expect(loop.error.load(ordering: .relaxed) == ETIME)
            #expect(behind.runs.load(ordering: .relaxed) == 0)
            #expect(bad.status.state == .banned(reason: ETIME))
            #expect(throws: SchedulingError.banned(reason: ETIME)) {
                try bad.submit(Job(body: ScriptedBody()))
            }
            #expect(SchedulingError.banned(reason: ETIME).errno == ECANCELED)
            for fence in neighbours {
                #expect(fence.wait(deadline: soon()))
                #expect(fence.error == 0)
            }
            let last = try good.submit(Job(body: ScriptedBody()))
            #expect(last.wait(deadline: soon()))
            #expect(last.error == 0)
            #expect(bad.waitUntilIdle(deadline: soon()) && good.waitUntilIdle(deadline: soon()))
            let statistics = engine.currentStatistics
            #expect(statistics.timedOut == 1)
            #expect(statistics.resets == 1)
            #expect(statistics.jobs.submitted == 23)
            #expect(statistics.jobs.completed == 21)
            #expect(statistics.jobs.failed == 1)
            #expect(statistics.jobs.cancelled == 1)
        }
    }

    @Test func timeSpentBlockedCounts() throws {
        try withEngine { engine in
            let timeout = 30 * milliseconds
            let queue = JobQueue(engine, name: "q", jobTimeout: timeout)
            let waiter = ScriptedBody { _, _ in .blocked(recheckAfter: 0) }
            let job = Job(body: waiter)
            let fence = try queue.submit(job)
            #expect(fence.wait(deadline: soon()))
            #expect(fence.error == ETIME)
            #expect(job.times.ended - job.times.started >= timeout)
            // 50 µs doubling to 2 ms: six looks in 3.15 ms, then one in 2 ms; a spin makes thousands.
            let looks = waiter.runs.load(ordering: .relaxed)
            #expect(looks >= 1 && looks <= 25, "looked \(looks) times")
        }
    }

    @Test func timeBehindOthersDoesNotCount() throws {
        try withEngine { engine in
            let timeout = 100 * milliseconds
            let queue = JobQueue(engine, name: "patient", priority: .low, jobTimeout: timeout)
            let started = Counter()
            let fence = try queue.submit(
                Job(
                    body: ScriptedBody { _, run in
                        started.value.store(1, ordering: .relaxed)
                        return run == 0 ? .yield : .done
                    }))
            let hog = JobQueue(engine, name: "hog", priority: .high)
            // Starts once the patient one has had its first quantum, and outlasts its time-out.
            let begin = Runtime.now()
            let busy = try hog.submit(
                Job(
                    body: ScriptedBody { _, _ in
                        Runtime.now() < begin + 3 * timeout ? .yield : .done
                    }))
            #expect(busy.wait(deadline: soon()))
            #expect(fence.wait(deadline: soon()))
            #expect(fence.error == 0)
        }
    }

    @Test func aFaultBansTheQueue() throws {
        try withEngine { engine in
            let queue = JobQueue(engine, name: "q")
            let bodies = [
                ScriptedBody(), ScriptedBody { _, run in run == 0 ? .yield : .failed(errno: EIO) },
                ScriptedBody(), ScriptedBody(),
            ]
            let gate = Gate()
            _ = try gate.hold(engine)
            let fences = try bodies.map { try queue.submit(Job(body: $0)) }
            gate.open()
            for fence in fences { #expect(fence.wait(deadline: soon())) }
            #expect(fences.map(\.error) == [0, EIO, ECANCELED, ECANCELED])
            #expect(zip(fences, fences.dropFirst()).allSatisfy { $0.timestamp <= $1.timestamp })
            #expect(bodies.map { $0.resets.load(ordering: .relaxed) } == [0, 1, 0, 0])
            #expect(throws: SchedulingError.banned(reason: EIO)) {
                try queue.submit(Job(body: ScriptedBody()))
            }
            // A ban from outside does not change the reason, closing ends the queue for good.
            queue.kill(reason: ENOMEM)
            #expect(queue.status.state == .banned(reason: EIO))
            queue.close()
            #expect(throws: SchedulingError.closed) {
                try queue.submit(Job(body: ScriptedBody()))
            }
            #expect(SchedulingError.closed.errno == ENOENT)
        }
    }

    @Test func whoSeesTheErrorFindsTheQueueBanned() throws {
        try withEngine { engine in
            for _ in 0..<200 {
                let queue = JobQueue(engine, name: "q")
                let fence = try queue.submit(Job(body: ScriptedBody { _, _ in .failed(errno: 0) }))
                #expect(yieldUntil { fence.isSignalled })
                #expect(fence.error == EIO, "an unnamed failure is EIO")
                #expect(throws: SchedulingError.banned(reason: EIO)) {
                    try queue.submit(Job(body: ScriptedBody()))
                }
            }
        }
    }

    @Test(arguments: [true, false]) func stoppingEndsARunningJobAtItsSlice(kill: Bool) throws {
        try withEngine { engine in
            let queue = JobQueue(engine, name: "q")
            let entered = Counter()
            // One endless slice that only the stop ends, as a body between two commands sees it.
            let body = ScriptedBody { slice, _ in
                entered.value.store(1, ordering: .relaxed)
                let deadline = soon()
                while !slice.shouldStop, Runtime.now() < deadline {}
                return slice.shouldStop ? .yield : .done
            }
            let fences = try [body, ScriptedBody()].map { try queue.submit(Job(body: $0)) }
            #expect(yieldUntil { entered.value.load(ordering: .relaxed) == 1 })
            #expect(!queue.waitUntilIdle(deadline: Runtime.now()))
            if kill { queue.kill(reason: ENOMEM) } else { queue.close() }
            #expect(queue.waitUntilIdle(deadline: soon()))
            #expect(fences.map(\.error) == [ECANCELED, ECANCELED])
            #expect(body.resets.load(ordering: .relaxed) == 1)
            #expect(body.runs.load(ordering: .relaxed) == 1)
            let expected: SchedulingError = kill ? .banned(reason: ENOMEM) : .closed
            #expect(throws: expected) { try queue.submit(Job(body: ScriptedBody())) }
        }
    }

    @Test func aBlockedJobIsStoppedAtOnce() throws {
        let configuration = SchedulerConfiguration(
            shortestRecheck: 600_000_000_000, longestRecheck: 600_000_000_000)
        try withEngine(configuration: configuration) { engine in
            let queue = JobQueue(engine, name: "q")
            let body = ScriptedBody { _, _ in .blocked(recheckAfter: 0) }
            let fence = try queue.submit(Job(body: body))
            #expect(yieldUntil { queue.status.activity == .blocked })
            queue.close()
            #expect(queue.waitUntilIdle(deadline: soon()))
            #expect(fence.error == ECANCELED)
            #expect(body.resets.load(ordering: .relaxed) == 1)
        }
    }
}
