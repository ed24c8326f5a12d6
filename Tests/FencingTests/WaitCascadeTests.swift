import Glibc
import Testing

@testable import Fencing

/// Waits whose completion makes the next one complete, as long as a client likes.
///
/// Each runs on a thread with the small stack of the daemon's own threads.
@Suite struct WaitCascadeTests {
    /// How many links: several times what a thread's stack would hold if each were a call deeper.
    static let links = 4096

    private func onThread(_ body: @escaping @Sendable () -> Void) {
        RuntimeThread.start(name: "test") { body() }?.join()
    }

    /// The links that have been carried out, in that order.
    private final class Order: Sendable {
        private let links = Guarded(.leaf, [Int]())
        var all: [Int] { links.withLock { $0 } }
        func append(_ link: Int) { links.withLock { $0.append(link) } }
    }

    /// SYNCOBJ_TRANSFER with WAIT_FOR_SUBMIT from each object to the next.
    private func transfers(
        _ objects: [Syncobj], destinationPoint: UInt64 = 0, _ flags: SyncobjWait.Flags,
        _ timers: TimerQueue, _ finished: Order
    ) -> [SyncobjWait] {
        (1..<objects.count).map { index in
            let (source, destination) = (objects[index - 1], objects[index])
            return SyncobjWait.start([.init(source)], flags: flags, timers: timers) { outcome in
                if case .success = outcome { finished.append(index) }
                try? Syncobj.transfer(
                    from: source, point: 0, to: destination, point: destinationPoint)
            }
        }
    }

    @Test(arguments: [0, 1] as [UInt64], [true, false])
    func aChainOfTransfersDoesNotRecurse(point: UInt64, signalled: Bool) {
        let timers = TimerQueue()
        let objects = (0...Self.links).map { _ in Syncobj() }
        let finished = Order()
        let waits = transfers(
            objects, destinationPoint: point, [.forSubmit, .available], timers, finished)
        let fence = makeFence()
        onThread {
            if signalled { objects[0].signal() } else { objects[0].replaceFence(fence) }
        }
        #expect(finished.all == Array(1...Self.links))
        if !signalled { onThread { fence.signal() } }
        #expect((try? objects[Self.links].findFence().isSignalled) == true)
        for wait in waits { #expect(!wait.cancel()) }
        for object in objects { object.reset() }
    }

    @Test(arguments: [0, 1] as [UInt64])
    func aChainOfWaitsForTheSignalDoesNotRecurse(point: UInt64) {
        let timers = TimerQueue()
        let objects = (0...Self.links).map { _ in Syncobj() }
        let finished = Order()
        let waits = transfers(objects, destinationPoint: point, .forSubmit, timers, finished)
        let fence = makeFence()
        objects[0].replaceFence(fence)
        #expect(finished.all.isEmpty)
        onThread { fence.signal() }
        #expect(finished.all == Array(1...Self.links))
        for wait in waits { #expect(!wait.cancel()) }
        for object in objects { object.reset() }
    }

    @Test func aWaitThatStartsSatisfiedSetsTheChainOff() {
        let timers = TimerQueue()
        let objects = (0...Self.links).map { _ in Syncobj() }
        let finished = Order()
        let waits = transfers(
            Array(objects[1...]), [.forSubmit, .available], timers, finished)
        onThread {
            let (first, second) = (objects[0], objects[1])
            first.signal()
            SyncobjWait.start([.init(first)], timers: timers) { _ in
                try? Syncobj.transfer(from: first, point: 0, to: second, point: 0)
            }
        }
        #expect(finished.all == Array(1..<Self.links))
        withExtendedLifetime(waits) {}
    }

    @Test func manyWaitersOfOneObjectAreToldInTheirOrder() {
        let timers = TimerQueue()
        let (first, second) = (Syncobj(), Syncobj())
        let order = Guarded(.leaf, [String]())
        var waits: [SyncobjWait] = []
        for index in 0..<3 {
            waits.append(
                SyncobjWait.start([.init(first)], flags: .available, timers: timers) { _ in
                    order.withLock { $0.append("first \(index)") }
                    if index == 0 { second.signal() }
                })
            waits.append(
                SyncobjWait.start([.init(second)], flags: .forSubmit, timers: timers) { _ in
                    order.withLock { $0.append("second \(index)") }
                })
        }
        first.signal()
        // Who was told first by the change that came first.
        #expect(
            order.withLock { $0 } == [
                "first 0", "first 1", "first 2", "second 0", "second 1", "second 2",
            ])
        withExtendedLifetime(waits) {}
    }

    @Test func aWaiterMayBeCancelledBetweenTheChangeAndItsTurn() {
        let timers = TimerQueue()
        let (first, second) = (Syncobj(), Syncobj())
        let completion = Completion()
        let late = SyncobjWait.start([.init(second)], flags: .forSubmit, timers: timers) {
            completion($0)
        }
        let wait = SyncobjWait.start([.init(first)], flags: .available, timers: timers) { _ in
            second.replaceFence(.makeSignalled())
            late.cancel()
        }
        first.signal()
        #expect(completion.all == [.failure(.cancelled)])
        withExtendedLifetime(wait) {}
    }

    @Test func nothingIsKeptOfAChainThatHasRun() {
        let timers = TimerQueue()
        weak var last: Syncobj?
        weak var wait: SyncobjWait?
        do {
            let objects = (0...Self.links).map { _ in Syncobj() }
            let finished = Order()
            let waits = transfers(objects, [.forSubmit, .available], timers, finished)
            last = objects.last
            wait = waits.last
            onThread { objects[0].signal() }
        }
        #expect(last == nil && wait == nil)
    }
}
