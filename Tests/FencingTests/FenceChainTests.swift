import Glibc
import TestSupport
import Testing

@testable import Fencing

/// A timeline by its definition: a point has signalled when it and everything added before it has.
private struct TimelineModel {
    struct Point {
        let number: UInt64
        let context: Int
        var isSignalled = false
    }

    var points: [Point] = []

    mutating func add(_ requested: UInt64) {
        guard let last = points.last else {
            points.append(Point(number: requested, context: 0))
            return
        }
        let joins = requested > last.number
        points.append(
            Point(
                number: max(requested, last.number), context: last.context + (joins ? 0 : 1)))
    }

    func isReached(_ index: Int) -> Bool { points[...index].allSatisfy(\.isSignalled) }

    var submitted: UInt64 { points.last?.number ?? 0 }

    var value: UInt64 {
        let current = points.indices.filter { points[$0].context == points.last?.context }
        return current.last(where: isReached).map { points[$0].number } ?? 0
    }

    /// Nil if nothing was submitted for the point; else whether it has signalled.
    func state(_ point: UInt64) -> Bool? {
        guard point <= submitted else { return nil }
        let index = points.indices.first {
            points[$0].context == points.last?.context && points[$0].number >= point
        }
        return index.map(isReached)
    }
}

@Suite struct FenceChainTests {
    @Test(arguments: 1...90 as ClosedRange<UInt64>)
    func randomTimelinesFollowTheModel(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let allowsUnordered = seed % 3 == 0
        let syncobj = Syncobj()
        var model = TimelineModel()
        var fences: [Fence] = []
        // Fences found along the way, with the index whose reaching they stand for.
        var found: [(fence: Fence, index: Int)] = []
        for step in 0..<60 {
            if Int.random(in: 0..<100, using: &random) < 45 || fences.isEmpty {
                let last = model.submitted
                let isUnordered = allowsUnordered && Int.random(in: 0..<8, using: &random) == 0
                let point =
                    isUnordered
                    ? UInt64.random(in: 1...max(last, 1), using: &random)
                    : last + UInt64.random(in: 1...3, using: &random)
                let fence = makeFence()
                let isHost = Int.random(in: 0..<4, using: &random) == 0
                if isHost { fence.signal() }
                syncobj.addPoint(FenceChain(), fence: fence, point: point)
                model.add(point)
                fences.append(fence)
                model.points[fences.count - 1].isSignalled = isHost
                found.append((try syncobj.findFence(point: 0), fences.count - 1))
            } else {
                let index = Int.random(in: 0..<fences.count, using: &random)
                fences[index].signal()
                model.points[index].isSignalled = true
            }
            if Int.random(in: 0..<10, using: &random) == 0 { found.removeAll() }
            let note: Comment = "seed \(seed) step \(step)"
            #expect(syncobj.query() == model.value, note)
            #expect(syncobj.query(lastSubmitted: true) == model.submitted, note)
            for entry in found {
                #expect(entry.fence.isSignalled == model.isReached(entry.index), note)
            }
            for point in 1...(model.submitted + 1) {
                guard let expected = model.state(point) else {
                    #expect(throws: FencingError.notSubmitted(point: point), note) {
                        try syncobj.findFence(point: point)
                    }
                    continue
                }
                #expect(try syncobj.findFence(point: point).isSignalled == expected, note)
            }
        }
    }

    @Test func aPointWaitsForEarlierOnes() throws {
        let syncobj = Syncobj()
        let early = makeFence()
        let late = makeFence()
        syncobj.addPoint(FenceChain(), fence: early, point: 1)
        syncobj.addPoint(FenceChain(), fence: late, point: 2)
        let second = try syncobj.findFence(point: 2)
        late.signal()
        #expect(!second.isSignalled)
        #expect(syncobj.query() == 0)
        early.signal()
        #expect(second.isSignalled)
        #expect(syncobj.query() == 2)
    }

    @Test func anUnorderedPointIsAddedWithTheLastNumber() throws {
        let syncobj = Syncobj()
        syncobj.signal(point: 10)
        #expect(syncobj.query() == 10)
        let fence = makeFence()
        syncobj.addPoint(FenceChain(), fence: fence, point: 4)
        #expect(syncobj.query(lastSubmitted: true) == 10)
        #expect(syncobj.query() == 0)
        #expect(!(try syncobj.findFence(point: 10).isSignalled))
        fence.signal()
        #expect(syncobj.query() == 10)
    }

    @Test func aPointBehindABinaryFenceWaitsForIt() throws {
        let syncobj = Syncobj()
        let binary = makeFence()
        syncobj.replaceFence(binary)
        #expect(throws: FencingError.notSubmitted(point: 3)) { try syncobj.findFence(point: 3) }
        syncobj.signal(point: 3)
        #expect(!(try syncobj.findFence(point: 2).isSignalled))
        #expect(syncobj.query() == 0)
        binary.signal()
        #expect(syncobj.query() == 3)
    }

    @Test func aNodeCarriesTheErrorOfItsOwnFence() throws {
        let syncobj = Syncobj()
        let bad = makeFence()
        let good = makeFence()
        syncobj.addPoint(FenceChain(), fence: bad, point: 1)
        let first = try syncobj.findFence(point: 1)
        syncobj.addPoint(FenceChain(), fence: good, point: 2)
        let second = try syncobj.findFence(point: 2)
        bad.signal(error: EIO)
        good.signal()
        #expect(first.error == EIO)
        #expect(second.isSignalled && second.error == 0)
    }

    @Test func twoObjectsGoOnFromOnePoint() throws {
        let one = Syncobj()
        let other = Syncobj()
        let shared = makeFence()
        one.addPoint(FenceChain(), fence: shared, point: 5)
        try Syncobj.transfer(from: one, point: 5, to: other, point: 0)
        let mine = makeFence()
        let theirs = makeFence()
        one.addPoint(FenceChain(), fence: mine, point: 9)
        other.addPoint(FenceChain(), fence: theirs, point: 7)
        shared.signal()
        #expect(one.query() == 5)
        mine.signal()
        #expect(one.query() == 9)
        #expect(other.query() < 7)
        #expect(!(try other.findFence(point: 7).isSignalled))
        theirs.signal()
        #expect(other.query() == 7)
    }

    @Test func aLongPendingChainIsReleasedWithoutRecursion() {
        onSmallStack {
            let syncobj = Syncobj()
            let context = FenceContext()
            var fences: [Fence] = []
            for point in 1...100_000 as ClosedRange<UInt64> {
                let fence = context.makeFence()
                syncobj.addPoint(FenceChain(), fence: fence, point: point)
                fences.append(fence)
            }
            syncobj.reset()
        }
    }

    @Test func aLongChainSignalsWithoutRecursion() {
        onSmallStack {
            let syncobj = Syncobj()
            let fences = (0..<50_000).map { _ in makeFence() }
            for (index, fence) in fences.enumerated() {
                syncobj.addPoint(FenceChain(), fence: fence, point: UInt64(index + 1))
            }
            for fence in fences.reversed() { fence.signal() }
            precondition(syncobj.query() == 50_000)
        }
    }

    @Test func aChainOfChainsNeitherRecursesInSignallingNorInRelease() {
        onSmallStack {
            for signals in [true, false] {
                let syncobj = Syncobj()
                let first = makeFence()
                syncobj.addPoint(FenceChain(), fence: first, point: 1)
                for point in 1..<20_000 as Range<UInt64> {
                    try? Syncobj.transfer(
                        from: syncobj, point: point, to: syncobj, point: point + 1)
                }
                if signals {
                    first.signal()
                    precondition(syncobj.query() == 20_000)
                }
            }
        }
    }

    @Test func hostSignalledPointsDoNotLengthenAPendingChain() throws {
        let syncobj = Syncobj()
        let pending = makeFence()
        syncobj.addPoint(FenceChain(), fence: pending, point: 1)
        weak var middle: FenceChain?
        do {
            let node = FenceChain()
            middle = node
            syncobj.signal(point: 2, node: node)
        }
        for point in 3...50 as ClosedRange<UInt64> { syncobj.signal(point: point) }
        #expect(middle == nil)
        #expect(syncobj.query() == 0)
        pending.signal()
        #expect(syncobj.query() == 50)
    }

    @Test func aResetChainGoesAtOnceAndLeavesNothingOnItsFences() {
        let syncobj = Syncobj()
        let pending = makeFence()
        weak var node: FenceChain?
        do {
            let made = FenceChain()
            node = made
            syncobj.addPoint(made, fence: pending, point: 1)
        }
        #expect(node != nil)
        syncobj.reset()
        #expect(node == nil)
        pending.signal()
    }

    @Test func aNodeWithACallbackLivesUntilItSignals() throws {
        let log = Recorder.Log()
        let syncobj = Syncobj()
        let pending = makeFence()
        syncobj.addPoint(FenceChain(), fence: pending, point: 1)
        #expect(try syncobj.findFence(point: 1).addCallback(Recorder("point", log)))
        syncobj.reset()
        pending.signal()
        #expect(log.all == ["point"])
    }
}
