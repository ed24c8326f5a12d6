import Fencing
import Glibc
import Scheduling
import Synchronization
import TestSupport
import Testing

/// Random loads from several threads, checked against what the rules promise.
@Suite struct RandomLoadTests {
    /// One job as the model sees it.
    private final class Record: Sendable {
        let queue: Int
        let began = Atomic<UInt64>(0)
        let ended = Atomic<UInt64>(0)
        let needs: [Record]
        init(queue: Int, needs: [Record]) {
            self.queue = queue
            self.needs = needs
        }
    }

    private final class World: Sendable {
        /// A clock that ticks with every event, so that "before" has no ties.
        let clock = Atomic<UInt64>(1)
        let records: Guarded<[(Record, Fence)]> = Guarded(.leaf, [])
        let insideQueue: [Counter]
        let overlaps = Counter()
        init(queues: Int) { insideQueue = (0..<queues).map { _ in Counter() } }
        func tick() -> UInt64 { clock.add(1, ordering: .relaxed).oldValue }
    }

    @Test(arguments: [1, 2, 3] as [UInt64]) func orderHolds(seed: UInt64) throws {
        let jobsPerThread = 400
        let group = EngineGroup()
        try withEngine(group: group) { exec in
            try withEngine(workers: 3, group: group) { bind in
                let queues = (0..<8).map { i in
                    JobQueue(
                        i < 4 ? exec : bind, name: "\(i)", kind: i < 4 ? .exec : .bind,
                        priority: QueuePriority.allCases[i % 4])
                }
                let world = World(queues: queues.count)
                let threads = (0..<3).compactMap { index in
                    RuntimeThread.start(name: "submit") {
                        submit(jobsPerThread, seed &* 1000 &+ UInt64(index), queues, world)
                    }
                }
                #expect(threads.count == 3)
                for thread in threads { thread.join() }
                let all = world.records.withLock { $0 }
                #expect(all.count == 3 * jobsPerThread)
                for (_, fence) in all { #expect(fence.wait(deadline: soon()), "seed \(seed)") }
                #expect(queues.allSatisfy { $0.waitUntilIdle(deadline: soon()) })
                try check(all, world, seed)
                let jobs = [exec, bind].map(\.currentStatistics.jobs)
                #expect(jobs.map(\.completed).reduce(0, +) == UInt64(3 * jobsPerThread))
                #expect(jobs.map(\.submitted).reduce(0, +) == UInt64(3 * jobsPerThread))
            }
        }
    }

    private func submit(_ count: Int, _ seed: UInt64, _ queues: [JobQueue], _ world: World) {
        var random = SplitMix64(seed: seed)
        for _ in 0..<count {
            let queue = Int.random(in: 0..<queues.count, using: &random)
            let known = world.records.withLock { $0.suffix(30) }
            let needs = known.filter { _ in Int.random(in: 0..<10, using: &random) == 0 }
            let record = Record(queue: queue, needs: needs.map(\.0))
            let yields = Int.random(in: 0..<3, using: &random)
            let blocks = Int.random(in: 0..<20, using: &random) == 0
            let body = ScriptedBody { slice, run in
                if world.insideQueue[queue].value.add(1, ordering: .relaxed).oldValue != 0 {
                    world.overlaps.value.add(1, ordering: .relaxed)
                }
                defer { world.insideQueue[queue].value.subtract(1, ordering: .relaxed) }
                if run == 0 { record.began.store(world.tick(), ordering: .relaxed) }
                if run < yields { return .yield }
                if blocks, run == yields { return .blocked(recheckAfter: 10_000) }
                if run % 2 == 0 { slice.noteSemaphoreWrite() }
                record.ended.store(world.tick(), ordering: .relaxed)
                return .done
            }
            let job = Job(body: body)
            for (_, fence) in needs { job.addDependency(fence) }
            do {
                let fence = try queues[queue].submit(job)
                world.records.withLock { $0.append((record, fence)) }
            } catch {
                Issue.record("seed \(seed): \(error)")
            }
        }
    }

    private func check(_ all: [(Record, Fence)], _ world: World, _ seed: UInt64) throws {
        #expect(world.overlaps.value.load(ordering: .relaxed) == 0, "seed \(seed)")
        // The first violation ends the check.
        for (record, fence) in all {
            let began = record.began.load(ordering: .relaxed)
            let ended = record.ended.load(ordering: .relaxed)
            try #require(fence.error == 0, "seed \(seed)")
            try #require(began > 0 && began < ended, "seed \(seed)")
            for need in record.needs {
                let needEnded = need.ended.load(ordering: .relaxed)
                try #require(needEnded > 0 && needEnded < began, "seed \(seed): in-fence")
            }
        }
        for queue in world.insideQueue.indices {
            let inOrder = all.filter { $0.0.queue == queue }
                .sorted { $0.1.sequenceNumber < $1.1.sequenceNumber }
            for (earlier, later) in zip(inOrder, inOrder.dropFirst()) {
                let ended = earlier.0.ended.load(ordering: .relaxed)
                let began = later.0.began.load(ordering: .relaxed)
                try #require(ended < began, "seed \(seed): queue \(queue)")
            }
        }
    }

    @Test func afterTheWaitNothingRuns() throws {
        try withEngine(workers: 2) { engine in
            var random = SplitMix64(seed: 7)
            for round in 0..<60 {
                let queue = JobQueue(engine, name: "\(round)")
                let isOver = Counter()
                let violations = Counter()
                let bodies = Bodies()
                let threads = (0..<2).compactMap { _ in
                    RuntimeThread.start(name: "submit") {
                        for _ in 0..<30 {
                            let body = ScriptedBody { _, run in
                                violations.value.add(
                                    isOver.value.load(ordering: .acquiring), ordering: .relaxed)
                                return run < 2 ? .yield : .done
                            } onReleased: { _ in
                                violations.value.add(
                                    isOver.value.load(ordering: .acquiring), ordering: .relaxed)
                            }
                            do {
                                let fence = try queue.submit(Job(body: body))
                                bodies.add(body, fence)
                            } catch { return }
                        }
                    }
                }
                for _ in 0..<Int.random(in: 0..<2000, using: &random) { _ = Runtime.now() }
                if round % 2 == 0 { queue.close() } else { queue.kill() }
                #expect(queue.waitUntilIdle(deadline: soon()))
                isOver.value.store(1, ordering: .releasing)
                for thread in threads { thread.join() }
                #expect(violations.value.load(ordering: .relaxed) == 0, "round \(round)")
                for (body, fence) in bodies.all {
                    #expect(fence.isSignalled)
                    #expect(fence.error == 0 || fence.error == ECANCELED)
                    #expect(body.completions.load(ordering: .relaxed) == 1)
                    #expect(body.releases.load(ordering: .relaxed) == 1)
                }
            }
        }
    }

    private final class Bodies: Sendable {
        private let list = Guarded<[(ScriptedBody, Fence)]>(.leaf, [])
        func add(_ body: ScriptedBody, _ fence: Fence) {
            list.withLock { $0.append((body, fence)) }
        }
        var all: [(ScriptedBody, Fence)] { list.withLock { $0 } }
    }
}
