import Fencing
import Scheduling
import Synchronization
import Testing

/// Jobs that wait for each other in memory.
@Suite struct SemaphoreTests {
    /// Waits until `word` is at least `value`, then sets it one higher.
    private func link(_ word: Counter, _ value: Int, announce: Bool) -> ScriptedBody {
        ScriptedBody { slice, _ in
            if word.value.load(ordering: .acquiring) < value { return .blocked(recheckAfter: 0) }
            word.value.store(value + 1, ordering: .releasing)
            if announce { slice.noteSemaphoreWrite() }
            return .done
        }
    }

    @Test(arguments: [true, false]) func queuesOfOneEngineWaitForEachOther(announce: Bool) throws {
        // Where writes are announced the slow recheck must not be needed.
        let slow: UInt64 = announce ? 600_000_000_000 : 100_000
        let configuration = SchedulerConfiguration(shortestRecheck: slow, longestRecheck: slow)
        try withEngine(configuration: configuration) { engine in
            let word = Counter()
            let links = 40
            // The last link first, so that every queue but one blocks.
            let fences = try (0..<links).reversed().map { value in
                try JobQueue(engine, name: "\(value)").submit(
                    Job(body: link(word, value, announce: announce)))
            }
            for fence in fences {
                #expect(fence.wait(deadline: soon()))
                #expect(fence.error == 0)
            }
            #expect(word.value.load(ordering: .relaxed) == links)
        }
    }

    @Test func aKickReachesTheOtherEnginesOfTheGroup() throws {
        let never: UInt64 = 600_000_000_000
        let configuration = SchedulerConfiguration(shortestRecheck: never, longestRecheck: never)
        let group = EngineGroup()
        try withEngine(configuration: configuration, group: group) { first in
            try withEngine(configuration: configuration, group: group) { second in
                let word = Counter()
                let queues = [JobQueue(first, name: "a"), JobQueue(second, name: "b")]
                var fences: [Fence] = []
                for value in 1..<100 {
                    fences.append(
                        try queues[value % 2].submit(Job(body: link(word, value, announce: true))))
                }
                #expect(yieldUntil { queues.allSatisfy { $0.status.activity == .blocked } })
                // The first write comes from no engine.
                word.value.store(1, ordering: .releasing)
                group.kick()
                for fence in fences { #expect(fence.wait(deadline: soon())) }
                #expect(word.value.load(ordering: .relaxed) == 100)
            }
        }
    }

    @Test func aKickDuringTheSliceIsNotLost() throws {
        let never: UInt64 = 600_000_000_000
        let configuration = SchedulerConfiguration(shortestRecheck: never, longestRecheck: never)
        try withEngine(configuration: configuration) { engine in
            let body = ScriptedBody { _, run in
                if run > 0 { return .done }
                // The write and its kick fall between the look and the end of the slice.
                engine.kick()
                return .blocked(recheckAfter: 0)
            }
            let fence = try JobQueue(engine, name: "q").submit(Job(body: body))
            #expect(fence.wait(deadline: soon()))
            #expect(body.runs.load(ordering: .relaxed) == 2)
        }
    }

    @Test func aBlockedUrgentQueueLetsOthersRun() throws {
        try withEngine { engine in
            let word = Counter()
            let urgent = try JobQueue(engine, name: "urgent", priority: .realtime).submit(
                Job(body: link(word, 1, announce: true)))
            let low = try JobQueue(engine, name: "low", priority: .low).submit(
                Job(body: link(word, 0, announce: true)))
            #expect(low.wait(deadline: soon()))
            #expect(urgent.wait(deadline: soon()))
            #expect(word.value.load(ordering: .relaxed) == 2)
        }
    }
}
