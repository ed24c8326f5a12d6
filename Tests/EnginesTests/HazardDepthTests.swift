import Fencing
import PageTables
import Testing

@testable import Engines

@Suite struct HazardDepthTests {
    @Test("Launches in the order of the treap's priorities do not outgrow an engine's stack")
    func depth() throws {
        // The generator's priorities, as FootprintTree makes them.
        var random: UInt32 = 1
        var priorities: [(UInt32, Int)] = []
        for index in 0..<HazardTracker.capacity {
            random = random &* 1_664_525 &+ 1_013_904_223
            priorities.append((random >> 8, index))
        }
        // The n-th footprint's address grows with its priority: a chain.
        var rank = [Int](repeating: 0, count: priorities.count)
        for (position, entry) in priorities.sorted(by: { $0.0 > $1.0 }).enumerated() {
            rank[entry.1] = position
        }
        let order = rank
        let done = Guarded(.leaf, false)
        let thread = RuntimeThread.start(name: "engine") {
            let tracker = HazardTracker()
            for place in order {
                let surface = Surface(address: UInt64(place) * 4096 + 0x10_0000)
                _ = tracker.note(
                    source: nil, destination: Footprint(surface, lineBytes: 16, lines: 1),
                    isPipelined: true, site: 0)
            }
            done.withLock { $0 = true }
        }
        try #require(thread).join()
        #expect(done.withLock { $0 })
    }
}
