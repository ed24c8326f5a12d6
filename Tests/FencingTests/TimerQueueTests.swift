import TestSupport
import Testing

@testable import Fencing

@Suite struct TimerQueueTests {
    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func eventsFireInTheOrderOfTheirDeadlines(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let queue = TimerQueue()
        let fired = Guarded<[Int]>(.leaf, [])
        let finished = makeFence()
        let deadlines = (0..<200).map { _ in UInt64.random(in: 0..<50, using: &random) }
        let events = deadlines.indices.map { index in
            TimerClosure { fired.withLock { $0.append(index) } }
        }
        for (event, deadline) in zip(events, deadlines) {
            queue.schedule(event, deadline: deadline)
        }
        var cancelled: Set<Int> = []
        for _ in 0..<60 {
            let index = Int.random(in: events.indices, using: &random)
            #expect(queue.cancel(events[index]) == cancelled.insert(index).inserted, "seed \(seed)")
        }
        let last = TimerClosure { finished.signal() }
        queue.schedule(last, deadline: 51)
        try queue.start()
        #expect(finished.wait(deadline: Runtime.deadline(after: 20_000_000_000)))
        queue.stop()
        // Equal deadlines in the order of scheduling: a stable sort.
        let expected = deadlines.indices.filter { !cancelled.contains($0) }
            .sorted { (deadlines[$0], $0) < (deadlines[$1], $1) }
        #expect(fired.withLock { $0 } == expected, "seed \(seed)")
    }

    @Test func anEarlierEventOvertakesTheOneWaitedFor() throws {
        let queue = TimerQueue()
        try queue.start()
        let late = TimerClosure {}
        queue.schedule(late, deadline: Runtime.deadline(after: 600_000_000_000))
        let fence = makeFence()
        let target = Runtime.deadline(after: 2_000_000)
        let early = TimerClosure { fence.signal() }
        queue.schedule(early, deadline: target)
        #expect(fence.wait(deadline: Runtime.deadline(after: 20_000_000_000)))
        #expect(fence.timestamp >= target)
        #expect(queue.cancel(late))
        #expect(!queue.cancel(early))
        queue.stop()
    }

    @Test func stopDropsWhatHasNotFired() throws {
        weak var event: TimerEvent?
        let queue = TimerQueue()
        do {
            let made = TimerClosure {}
            event = made
            queue.schedule(made, deadline: Runtime.deadline(after: 600_000_000_000))
        }
        #expect(event != nil)
        try queue.start()
        queue.stop()
        #expect(event == nil)
    }
}
