import Fencing
import Glibc
import Scheduling
import Synchronization
import Testing

/// Jobs that run on the thread that pushes them.
@Suite struct GuestTests {
    /// Pushes a job that may run on this thread.
    private func push(_ queue: JobQueue, _ body: ScriptedBody) throws -> Fence {
        let job = Job(body: body)
        let fence = try queue.arm(job)
        queue.push(job, mayRun: true)
        return fence
    }

    /// The engine's thread parks when it finds nothing to do, which nobody is told: the more often it
    /// had not yet, the longer it gets.
    private func letThreadsPark(_ attempt: Int) {
        let end = Runtime.deadline(after: UInt64(attempt) * 100_000)
        while Runtime.now() < end { sched_yield() }
    }

    @Test func aJobWithNothingAheadRunsHere() throws {
        try withEngine { engine in
            let here = UInt(pthread_self())
            let wasHere = Counter()
            for attempt in 0..<1000 where wasHere.value.load(ordering: .relaxed) == 0 {
                letThreadsPark(attempt)
                let fence = try push(
                    JobQueue(engine, name: "q"),
                    ScriptedBody { slice, _ in
                        if UInt(pthread_self()) == here {
                            wasHere.value.add(1, ordering: .relaxed)
                            #expect(slice.isFirst && slice.worker == -1)
                        }
                        return .done
                    })
                #expect(fence.wait(deadline: soon()))
            }
            #expect(wasHere.value.load(ordering: .relaxed) == 1)
            #expect(engine.currentStatistics.jobs.completed > 0)
        }
    }

    @Test func onlyTheFirstQuantumIsTheGuests() throws {
        try withEngine { engine in
            let here = UInt(pthread_self())
            let elsewhere = Counter()
            let wasHere = Counter()
            for attempt in 0..<1000 where wasHere.value.load(ordering: .relaxed) == 0 {
                letThreadsPark(attempt)
                let queue = JobQueue(engine, name: "q")
                let fence = try push(
                    queue,
                    ScriptedBody { _, run in
                        if UInt(pthread_self()) == here {
                            #expect(run == 0)
                            wasHere.value.add(1, ordering: .relaxed)
                        } else if run > 0 {
                            elsewhere.value.add(1, ordering: .relaxed)
                        }
                        return run < 3 ? .yield : .done
                    })
                #expect(fence.wait(deadline: soon()) && fence.error == 0)
                #expect(queue.waitUntilIdle(deadline: soon()))
            }
            #expect(wasHere.value.load(ordering: .relaxed) == 1)
            #expect(elsewhere.value.load(ordering: .relaxed) >= 3)
        }
    }

    @Test func aJobBehindOthersDoesNotRunHere() throws {
        try withEngine { engine in
            let here = UInt(pthread_self())
            func stranger() -> ScriptedBody {
                ScriptedBody { _, _ in
                    #expect(UInt(pthread_self()) != here)
                    return .done
                }
            }
            // The one thread is busy.
            let gate = Gate()
            let held = try gate.hold(engine)
            let behind = try push(JobQueue(engine, name: "other"), stranger())
            #expect(!behind.isSignalled)
            gate.open()
            #expect(held.wait(deadline: soon()) && behind.wait(deadline: soon()))
            // An in-fence is open.
            let context = FenceContext()
            let open = context.makeFence()
            let queue = JobQueue(engine, name: "q")
            let waiting = Job(body: stranger())
            waiting.addDependency(open)
            let first = try queue.arm(waiting)
            queue.push(waiting, mayRun: true)
            // And the one behind it is not the first.
            let second = try push(queue, stranger())
            #expect(!first.isSignalled && !second.isSignalled)
            open.signal()
            #expect(first.wait(deadline: soon()) && second.wait(deadline: soon()))
        }
    }

    @Test func aFailureHereBansTheQueue() throws {
        try withEngine { engine in
            let queue = JobQueue(engine, name: "q")
            let body = ScriptedBody { _, _ in .failed(errno: EFAULT) }
            let fence = try push(queue, body)
            #expect(fence.wait(deadline: soon()) && fence.error == EFAULT)
            #expect(queue.waitUntilIdle(deadline: soon()))
            #expect(queue.status.state == .banned(reason: EFAULT))
            #expect(body.resets.load(ordering: .relaxed) == 1)
            #expect(body.releases.load(ordering: .relaxed) == 1)
        }
    }
}
