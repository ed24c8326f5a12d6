import Fencing
import Scheduling
import Synchronization
import Testing

@Suite struct OrderTests {
    @Test func jobsOfAQueueRunInTheirOrder() throws {
        try withEngine(workers: 3) { engine in
            let log = EventLog()
            let queue = JobQueue(engine, name: "q")
            var fences: [Fence] = []
            for i in 0..<50 {
                fences.append(
                    try queue.submit(
                        Job(
                            body: ScriptedBody { _, run in
                                if run < i % 3 { return .yield }
                                log.add("\(i)")
                                return .done
                            })))
            }
            for fence in fences { #expect(fence.wait(deadline: soon())) }
            #expect(log.all == (0..<50).map { "\($0)" })
            #expect(zip(fences, fences.dropFirst()).allSatisfy { $0.timestamp <= $1.timestamp })
            #expect(fences.allSatisfy { $0.context == queue.id && $0.error == 0 })
            #expect(fences.map(\.sequenceNumber) == (1...50).map(UInt64.init))
        }
    }

    @Test func inFencesGateTheJobAndNotItsEngine() throws {
        try withEngine { engine in
            let context = FenceContext()
            let other = FenceContext()
            let first = context.makeFence()
            let second = other.makeFence()
            let gated = ScriptedBody()
            let job = Job(body: gated)
            job.addDependency(first)
            job.addDependency(second)
            job.addDependency(Fence.makeSignalled())
            let queue = JobQueue(engine, name: "gated")
            let fence = try queue.submit(job)

            let free = try JobQueue(engine, name: "free").submit(Job(body: ScriptedBody()))
            #expect(free.wait(deadline: soon()))
            #expect(queue.status.activity == .waiting)
            first.signal()
            let again = try JobQueue(engine, name: "free").submit(Job(body: ScriptedBody()))
            #expect(again.wait(deadline: soon()))
            #expect(gated.runs.load(ordering: .relaxed) == 0)
            #expect(!fence.isSignalled)
            second.signal()
            #expect(fence.wait(deadline: soon()))
            #expect(gated.runs.load(ordering: .relaxed) == 1)
        }
    }

    @Test func ofOneContextTheLatestFenceCounts() throws {
        try withEngine { engine in
            let context = FenceContext()
            let fences = (0..<3).map { _ in context.makeFence() }
            let body = ScriptedBody()
            let job = Job(body: body)
            for index in [1, 2, 0] { job.addDependency(fences[index]) }
            let fence = try JobQueue(engine, name: "q").submit(job)
            fences[0].signal()
            fences[1].signal()
            #expect(!fence.isSignalled)
            #expect(body.runs.load(ordering: .relaxed) == 0)
            fences[2].signal()
            #expect(fence.wait(deadline: soon()))
        }
    }

    @Test func anErrorOfAnInFenceDoesNotStopTheJob() throws {
        try withEngine { engine in
            let source = FenceContext().makeFence()
            let job = Job(body: ScriptedBody())
            job.addDependency(source)
            let fence = try JobQueue(engine, name: "q").submit(job)
            source.signal(error: 5)
            #expect(fence.wait(deadline: soon()))
            #expect(fence.error == 0)
        }
    }

    @Test func theMoreUrgentQueueRunsFirst() throws {
        try withEngine { engine in
            let log = EventLog()
            let gate = Gate()
            let held = try gate.hold(engine)
            var fences: [Fence] = [held]
            for priority in [QueuePriority.low, .high, .normal] {
                let queue = JobQueue(engine, name: "\(priority)", priority: priority)
                for i in 0..<2 {
                    fences.append(
                        try queue.submit(
                            Job(
                                body: ScriptedBody { _, run in
                                    log.add("\(priority)\(i)")
                                    return run == 1 ? .done : .yield
                                })))
                }
            }
            gate.open()
            for fence in fences { #expect(fence.wait(deadline: soon())) }
            let expected = ["high", "normal", "low"].flatMap {
                ["\($0)0", "\($0)0", "\($0)1", "\($0)1"]
            }
            #expect(log.all == expected)
        }
    }

    @Test func equalsTakeTurnsByQuanta() throws {
        try withEngine { engine in
            let log = EventLog()
            let gate = Gate()
            _ = try gate.hold(engine)
            let fences = try ["a", "b", "c"].map { name in
                try JobQueue(engine, name: name).submit(
                    Job(
                        body: ScriptedBody { _, run in
                            log.add(name)
                            return run == 4 ? .done : .yield
                        }))
            }
            gate.open()
            for fence in fences { #expect(fence.wait(deadline: soon())) }
            #expect(log.all == [[String]](repeating: ["a", "b", "c"], count: 5).flatMap { $0 })
        }
    }

    @Test func workersRunQueuesInParallel() throws {
        try withEngine(workers: 4) { engine in
            let inside = Counter()
            let fences = try (0..<4).map { i in
                try JobQueue(engine, name: "\(i)", kind: .bind).submit(
                    Job(
                        body: ScriptedBody { _, _ in
                            inside.value.add(1, ordering: .relaxed)
                            let met = yieldUntil { inside.value.load(ordering: .relaxed) == 4 }
                            return met ? .done : .failed(errno: 1)
                        }))
            }
            for fence in fences {
                #expect(fence.wait(deadline: soon()))
                #expect(fence.error == 0)
            }
        }
    }

    @Test func timesAreInTheirOrder() throws {
        try withEngine { engine in
            let source = FenceContext().makeFence()
            let job = Job(body: ScriptedBody())
            job.addDependency(source)
            #expect(job.times.submitted == 0 && job.times.ended == 0)
            let before = Runtime.now()
            let fence = try JobQueue(engine, name: "q").submit(job)
            let middle = Runtime.now()
            source.signal()
            #expect(fence.wait(deadline: soon()))
            let times = job.times
            #expect(before <= times.submitted && times.submitted <= middle)
            #expect(middle <= times.runnable && times.runnable <= times.started)
            #expect(times.started <= times.ended)
            #expect(times.ended == fence.timestamp)
        }
    }
}
