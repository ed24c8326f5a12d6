import Fencing
import Glibc
import Scheduling
import Testing

/// Engines whose jobs wait for each other's fences, stopped together.
@Suite struct CommonShutdownTests {
    private func stop(
        _ engines: [EngineScheduler], gracefulUntil deadline: UInt64?
    ) throws -> RuntimeThread {
        try #require(
            RuntimeThread.start(name: "stopper") {
                EngineScheduler.shutdown(engines, gracefulUntil: deadline)
            })
    }

    @Test(arguments: [0, 1]) func whatWaitsForAnotherEngineIsFinished(first: Int) throws {
        let engines = [
            try EngineScheduler(name: "copy"), try EngineScheduler(name: "bind", workers: 2),
        ]
        let gate = Gate()
        // To and fro: each job becomes runnable through one of the other engine.
        let links = 12
        var fences = [try gate.hold(engines[first])]
        for link in 1...links {
            let job = Job(body: ScriptedBody { _, run in run < 2 ? .yield : .done })
            job.addDependency(fences[link - 1])
            let engine = engines[(first + link) % 2]
            fences.append(try JobQueue(engine, name: "link \(link)").submit(job))
        }
        let never = Job(body: ScriptedBody())
        never.addDependency(FenceContext().makeFence())
        let stuck = try JobQueue(engines[0], name: "stuck").submit(never)
        let probes = engines.map { JobQueue($0, name: "probe") }
        let stopper = try stop(engines, gracefulUntil: soon())
        // Each engine refuses jobs before the other has finished.
        for probe in probes {
            #expect(
                yieldUntil {
                    do throws(SchedulingError) {
                        let job = Job(body: ScriptedBody())
                        _ = try probe.submit(job)
                        return false
                    } catch {
                        return error == .engineStopped
                    }
                })
        }
        #expect(!fences[0].isSignalled)
        gate.open()
        stopper.join()
        for (link, fence) in fences.enumerated() {
            #expect(fence.isSignalled && fence.error == 0, "link \(link): \(fence.error)")
        }
        #expect(stuck.isSignalled && stuck.error == ECANCELED)
        for engine in engines { engine.shutdown() }
    }

    @Test func jobsThatWaitInMemoryAreFinished() throws {
        let group = EngineGroup()
        let engines = [
            try EngineScheduler(name: "a", group: group),
            try EngineScheduler(name: "b", group: group),
        ]
        let word = Counter()
        var fences: [Fence] = []
        for value in (0..<20).reversed() {
            let body = ScriptedBody { slice, _ in
                guard word.value.load(ordering: .acquiring) == value else {
                    return .blocked(recheckAfter: 0)
                }
                word.value.store(value + 1, ordering: .releasing)
                slice.noteSemaphoreWrite()
                return .done
            }
            fences.append(
                try JobQueue(engines[value % 2], name: "\(value)").submit(Job(body: body)))
        }
        EngineScheduler.shutdown(engines, gracefulUntil: soon())
        #expect(fences.allSatisfy { $0.isSignalled && $0.error == 0 })
    }

    @Test(arguments: [true, false]) func theRestIsCancelledAtTheDeadline(isGraceful: Bool) throws {
        let engines = try (0..<3).map { try EngineScheduler(name: "\($0)") }
        var fences: [Fence] = []
        for engine in engines {
            let loop = Job(body: ScriptedBody { _, _ in .yield })
            if let last = fences.last { loop.addDependency(last) }
            fences.append(try JobQueue(engine, name: "loop").submit(loop))
        }
        EngineScheduler.shutdown(
            engines, gracefulUntil: isGraceful ? Runtime.deadline(after: 5_000_000) : nil)
        #expect(fences.allSatisfy { $0.isSignalled && $0.error == ECANCELED })
        // Those that are stopped already are passed over.
        EngineScheduler.shutdown(engines + [try EngineScheduler(name: "late")])
        EngineScheduler.shutdown([])
    }
}
