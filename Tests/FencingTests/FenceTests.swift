import Glibc
import Testing

@testable import Fencing

@Suite struct FenceTests {
    @Test func callbacksRunOnceInOrder() {
        let log = Recorder.Log()
        let fence = makeFence()
        for name in ["a", "b", "c", "d"] { #expect(fence.addCallback(Recorder(name, log))) }
        #expect(log.all.isEmpty)
        #expect(fence.signal())
        #expect(log.all == ["a", "b", "c", "d"])
        #expect(!fence.signal(error: EIO))
        #expect(log.all.count == 4)
        #expect(fence.error == 0)
        #expect(!fence.addCallback(Recorder("late", log)))
        #expect(log.all.count == 4)
    }

    @Test func removedCallbacksDoNotRun() {
        let log = Recorder.Log()
        let fence = makeFence()
        let callbacks = ["a", "b", "c", "d", "e"].map { Recorder($0, log) }
        for callback in callbacks { _ = fence.addCallback(callback) }
        for index in [0, 2, 4] { #expect(fence.removeCallback(callbacks[index])) }
        #expect(!fence.removeCallback(callbacks[0]))
        #expect(fence.addCallback(callbacks[2]))
        fence.signal()
        #expect(log.all == ["b", "d", "c"])
        #expect(!fence.removeCallback(callbacks[1]))
    }

    @Test func errorAndTimestampStay() {
        let fence = makeFence()
        #expect(fence.error == 0 && fence.timestamp == 0)
        fence.signal(error: ENODEV, at: 1234)
        #expect(fence.isSignalled && fence.error == ENODEV && fence.timestamp == 1234)
    }

    @Test func waitKeepsItsDeadline() {
        let fence = makeFence()
        let start = Runtime.now()
        #expect(!fence.wait(deadline: start + 5_000_000))
        #expect(Runtime.now() >= start + 5_000_000)
        let signaller = RuntimeThread.start(name: "signaller") { fence.signal() }
        #expect(fence.wait(deadline: Runtime.deadline(after: 20_000_000_000)))
        signaller?.join()
    }

    @Test func aFenceWithManyCallbacksDiesWithoutRecursion() {
        onSmallStack {
            let log = Recorder.Log()
            var fence: Fence? = makeFence()
            for _ in 0..<100_000 { _ = fence?.addCallback(Recorder("x", log)) }
            fence = nil
        }
    }
}

/// Runs `body` on a thread whose stack a recursion over 100,000 nodes would overflow.
func onSmallStack(_ body: @escaping @Sendable () -> Void) {
    RuntimeThread.start(name: "small stack", stackBytes: 256 << 10, body)?.join()
}
