import Glibc
import Testing

@testable import Fencing

@Suite struct SyncobjTests {
    @Test func createSignalledAndEmpty() throws {
        #expect(try Syncobj(signalled: true).findFence().isSignalled)
        #expect(throws: FencingError.notSubmitted(point: 0)) { try Syncobj().findFence() }
        #expect(FencingError.notSubmitted(point: 0).errno == EINVAL)
        #expect(Syncobj(signalled: true).query() == 0)
    }

    @Test func resetAndSignal() throws {
        let syncobj = Syncobj()
        syncobj.signal()
        #expect(try syncobj.findFence().isSignalled)
        syncobj.reset()
        #expect(throws: FencingError.self) { try syncobj.findFence() }
        let fence = makeFence()
        syncobj.replaceFence(fence)
        #expect(try syncobj.findFence() === fence)
    }

    @Test func queryTellsSignalledAndSubmitted() {
        let syncobj = Syncobj()
        #expect(syncobj.query() == 0 && syncobj.query(lastSubmitted: true) == 0)
        let fence = makeFence()
        syncobj.signal(point: 3)
        syncobj.addPoint(FenceChain(), fence: fence, point: 8)
        #expect(syncobj.query() == 3 && syncobj.query(lastSubmitted: true) == 8)
        fence.signal()
        #expect(syncobj.query() == 8)
        syncobj.reset()
        #expect(syncobj.query() == 0 && syncobj.query(lastSubmitted: true) == 0)
    }

    @Test func aPointBetweenWaitsForTheNextSubmittedOne() throws {
        let syncobj = Syncobj()
        let fence = makeFence()
        syncobj.signal(point: 2)
        syncobj.addPoint(FenceChain(), fence: fence, point: 6)
        #expect(try syncobj.findFence(point: 1).isSignalled)
        #expect(try syncobj.findFence(point: 2).isSignalled)
        #expect(!(try syncobj.findFence(point: 3).isSignalled))
        #expect(throws: FencingError.notSubmitted(point: 7)) { try syncobj.findFence(point: 7) }
    }

    @Test func transferTimelineToBinary() throws {
        let timeline = Syncobj()
        let binary = Syncobj()
        let fences = [makeFence(), makeFence()]
        timeline.addPoint(FenceChain(), fence: fences[0], point: 1)
        timeline.addPoint(FenceChain(), fence: fences[1], point: 2)
        try Syncobj.transfer(from: timeline, point: 1, to: binary, point: 0)
        let taken = try binary.findFence()
        #expect(!taken.isSignalled)
        fences[0].signal()
        #expect(taken.isSignalled)
    }

    @Test func transferBinaryToTimeline() throws {
        let binary = Syncobj()
        let timeline = Syncobj()
        let fence = makeFence()
        binary.replaceFence(fence)
        timeline.signal(point: 4)
        try Syncobj.transfer(from: binary, point: 0, to: timeline, point: 5)
        binary.reset()
        #expect(timeline.query() == 4 && timeline.query(lastSubmitted: true) == 5)
        fence.signal()
        #expect(timeline.query() == 5)
    }

    @Test func transferTimelineToTimelineAndPassedPoint() throws {
        let source = Syncobj()
        let destination = Syncobj()
        let fence = makeFence()
        source.signal(point: 1)
        source.addPoint(FenceChain(), fence: fence, point: 2)
        try Syncobj.transfer(from: source, point: 1, to: destination, point: 10)
        #expect(destination.query() == 10)
        try Syncobj.transfer(from: source, point: 2, to: destination, point: 11)
        #expect(destination.query() == 10)
        fence.signal()
        #expect(destination.query() == 11)
        #expect(throws: FencingError.notSubmitted(point: 3)) {
            try Syncobj.transfer(from: source, point: 3, to: destination, point: 12)
        }
        #expect(destination.query(lastSubmitted: true) == 11)
    }
}
