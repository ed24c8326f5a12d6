import Fencing
import Scheduling
import Synchronization
import Testing

/// Times that a client may choose at will: nothing wraps, and nothing turns into polling.
@Suite struct DeadlineTests {
    @Test(arguments: [.max, .max - 1, UInt64(Int64.max), 1 << 62] as [UInt64])
    func aHugeTimeoutIsNone(timeout: UInt64) throws {
        let never: UInt64 = 600_000_000_000
        let configuration = SchedulerConfiguration(shortestRecheck: never, longestRecheck: never)
        try withEngine(configuration: configuration) { engine in
            let isReady = Counter()
            let body = ScriptedBody { _, _ in
                isReady.value.load(ordering: .acquiring) == 1 ? .done : .blocked(recheckAfter: 0)
            }
            let queue = JobQueue(engine, name: "q", jobTimeout: timeout)
            let fence = try queue.submit(Job(body: body))
            // Others' slices make the engine look at its blocked queues again and again.
            let other = JobQueue(engine, name: "other")
            for _ in 0..<200 {
                #expect(try other.submit(Job(body: ScriptedBody())).wait(deadline: soon()))
            }
            #expect(yieldUntil { queue.status.activity == .blocked })
            #expect(body.runs.load(ordering: .relaxed) == 1)
            isReady.value.store(1, ordering: .releasing)
            engine.kick()
            #expect(fence.wait(deadline: soon()))
            #expect(fence.error == 0)
            #expect(body.runs.load(ordering: .relaxed) == 2)
        }
    }

    @Test func hugeTimeConstants() throws {
        let configuration = SchedulerConfiguration(
            quantum: .max, shortestRecheck: .max - 5, longestRecheck: .max)
        try withEngine(configuration: configuration) { engine in
            let over = Counter()
            let isReady = Counter()
            let body = ScriptedBody { slice, _ in
                if slice.isOver { over.value.add(1, ordering: .relaxed) }
                return isReady.value.load(ordering: .acquiring) == 1
                    ? .done : .blocked(recheckAfter: .max)
            }
            let queue = JobQueue(engine, name: "q", jobTimeout: .max)
            let fence = try queue.submit(Job(body: body))
            #expect(yieldUntil { queue.status.activity == .blocked })
            isReady.value.store(1, ordering: .releasing)
            engine.kick()
            #expect(fence.wait(deadline: soon()))
            #expect(over.value.load(ordering: .relaxed) == 0)
            #expect(body.runs.load(ordering: .relaxed) == 2)
        }
    }

    @Test func aQueueIsIdleOnlyAfterItsLastHook() throws {
        try withEngine { engine in
            let seen = Guarded(.leaf, [JobQueueStatus]())
            let box = Guarded<JobQueue?>(.leaf, nil)
            let note = { @Sendable (error: Int32) in
                guard let queue = box.withLock({ $0 }) else { return }
                let status = queue.status
                seen.withLock { $0.append(status) }
            }
            let queue = JobQueue(engine, name: "q")
            box.withLock { $0 = queue }
            let fence = try queue.submit(
                Job(body: ScriptedBody(onCompleted: note, onReleased: note)))
            #expect(fence.wait(deadline: soon()))
            #expect(queue.waitUntilIdle(deadline: soon()))
            box.withLock { $0 = nil }
            let all = seen.withLock { $0 }
            #expect(all.map(\.activity) == [.running, .running])
            #expect(all.map(\.pendingJobs) == [1, 1])
            #expect(queue.status.activity == .idle && queue.status.pendingJobs == 0)
        }
    }
}
