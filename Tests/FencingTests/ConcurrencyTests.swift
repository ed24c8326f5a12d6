import Glibc
import TestSupport
import Testing

@testable import Fencing

/// Several threads at once; meant for the thread sanitizer, and bounded by counts, not by time.
@Suite struct FencingConcurrencyTests {
    /// Runs `body` with an index on `count` threads and waits for them.
    private func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
        let threads = (0..<count).map { index in
            RuntimeThread.start(name: "test \(index)") { body(index) }
        }
        for thread in threads { thread?.join() }
    }

    @Test func oneOfManySignallersWins() {
        for _ in 0..<100 {
            let fence = makeFence()
            let log = Recorder.Log()
            let callbacks = (0..<8).map { Recorder("\($0)", log) }
            for callback in callbacks { _ = fence.addCallback(callback) }
            let removed = Guarded(.leaf, 0)
            let won = Guarded(.leaf, 0)
            onThreads(4) { index in
                if index < 2 {
                    if fence.signal(error: Int32(index)) { won.withLock { $0 += 1 } }
                } else {
                    for callback in callbacks where fence.removeCallback(callback) {
                        removed.withLock { $0 += 1 }
                    }
                }
            }
            #expect(won.withLock { $0 } == 1)
            #expect(log.all.count + removed.withLock { $0 } == callbacks.count)
        }
    }

    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func timelinesUnderLoad(seed: UInt64) throws {
        let syncobj = Syncobj()
        let copy = Syncobj()
        let page = FencePage(quota: 8)
        let slots = try [syncobj, copy].map { try page.allocateSlot(for: $0) }
        defer { withExtendedLifetime(slots) {} }
        let reader = FencePageReader()
        try reader.addChunk(fd: try page.chunkFD(0))
        let rounds = 400
        let fences = (0..<rounds).map { _ in makeFence() }
        var random = SplitMix64(seed: seed)
        let shuffled = fences.shuffled(using: &random)
        let slot = slots[0].index
        onThreads(5) { index in
            switch index {
            case 0:
                for (point, fence) in fences.enumerated() {
                    syncobj.addPoint(FenceChain(), fence: fence, point: UInt64(point + 1))
                }
            case 1: for fence in shuffled { fence.signal() }
            case 2:
                for point in 1...rounds where point % 7 == 0 {
                    _ = try? SyncobjWait.wait(
                        [.init(syncobj, point: UInt64(point))], flags: .forSubmit)
                    // What a wait reports, the fence page shows.
                    let value = (try? reader.value(slot: slot)) ?? 0
                    precondition(value >= point && syncobj.query() >= point)
                }
            case 3:
                _ = try? reader.wait([.init(slot: slot, point: UInt64(rounds))], flags: .forSubmit)
            default:
                for point in 1...rounds where point % 3 == 0 {
                    try? Syncobj.transfer(
                        from: syncobj, point: UInt64(point), to: copy, point: UInt64(point))
                    if point % 5 == 0 { copy.reset() }
                    _ = copy.query()
                }
            }
        }
        #expect(syncobj.query() == UInt64(rounds), "seed \(seed)")
        #expect(try reader.value(slot: slot) == UInt64(rounds), "seed \(seed)")
        #expect(try reader.value(slot: slots[1].index) == copy.query(), "seed \(seed)")
    }

    @Test(arguments: 1...3 as ClosedRange<UInt64>)
    func everyWaitCompletesOnce(seed: UInt64) throws {
        let timers = TimerQueue()
        try timers.start()
        let objects = (0..<6).map { _ in Syncobj() }
        let count = 300
        let completed = Guarded<[Int]>(.leaf, [Int](repeating: 0, count: count))
        let done = Condition()
        let waits = Guarded<[SyncobjWait]>(.leaf, [])
        onThreads(4) { index in
            var random = SplitMix64(seed: seed &* 1000 &+ UInt64(index))
            switch index {
            case 0:
                for id in 0..<count {
                    let targets = (0..<3).map { _ in
                        SyncobjWait.Target(objects.randomElement(using: &random) ?? objects[0])
                    }
                    let flags: SyncobjWait.Flags = id % 2 == 0 ? [.forSubmit, .all] : .forSubmit
                    let wait = SyncobjWait.start(
                        targets, flags: flags, deadline: deadline(inMilliseconds: 5),
                        timers: timers
                    ) { _ in
                        completed.withLock { $0[id] += 1 }
                        done.broadcast()
                    }
                    waits.withLock { $0.append(wait) }
                }
            case 1:
                for _ in 0..<count {
                    let wait = waits.withLock { $0.randomElement(using: &random) }
                    wait?.cancel()
                }
            default:
                for _ in 0..<count {
                    let object = objects.randomElement(using: &random) ?? objects[0]
                    switch Int.random(in: 0..<4, using: &random) {
                    case 0: object.reset()
                    case 1: object.signal()
                    default:
                        let fence = makeFence()
                        object.replaceFence(fence)
                        fence.signal()
                    }
                }
            }
        }
        let all = completed.wait(on: done, deadline: Runtime.deadline(after: 20_000_000_000)) {
            $0.allSatisfy { $0 > 0 } ? $0 : nil
        }
        #expect(all == [Int](repeating: 1, count: count), "seed \(seed)")
        timers.stop()
    }

    @Test func timersUnderLoad() throws {
        let timers = TimerQueue()
        try timers.start()
        let count = 300
        let fired = Guarded(.leaf, 0)
        let cancelled = Guarded(.leaf, 0)
        onThreads(3) { index in
            for step in 0..<count {
                let event = TimerClosure { fired.withLock { $0 += 1 } }
                timers.schedule(event, deadline: Runtime.now() + UInt64(step % 50) * 1000)
                if (step + index) % 3 == 0, timers.cancel(event) {
                    cancelled.withLock { $0 += 1 }
                }
            }
        }
        let last = makeFence()
        let end = TimerClosure { last.signal() }
        timers.schedule(end, deadline: Runtime.now() + 1_000_000)
        #expect(last.wait(deadline: Runtime.deadline(after: 20_000_000_000)))
        timers.stop()
        #expect(fired.withLock { $0 } + cancelled.withLock { $0 } == 3 * count)
    }

    @Test func syncFilesCloseWhileTheySignal() throws {
        let monitor = PollingMonitor()
        let registry = FenceFDRegistry(monitor: monitor)
        let quota = FenceFDQuota(limit: 64)
        for _ in 0..<50 {
            let fences = (0..<4).map { _ in makeFence() }
            let fds = try fences.map { try registry.exportSyncFile($0, quota: quota) }
            onThreads(2) { index in
                if index == 0 {
                    for fence in fences { fence.signal() }
                } else {
                    for fd in fds { close(fd) }
                    monitor.pump(registry)
                }
            }
            monitor.pumpUntilEmpty(registry)
            #expect(registry.count == 0 && quota.count == 0)
        }
    }

    @Test func aResetChainMayDieWhileItSignals() {
        for _ in 0..<200 {
            let syncobj = Syncobj()
            let fences = (0..<6).map { _ in makeFence() }
            for (index, fence) in fences.enumerated() {
                syncobj.addPoint(FenceChain(), fence: fence, point: UInt64(index + 1))
            }
            onThreads(2) { index in
                if index == 0 {
                    for fence in fences { fence.signal() }
                } else {
                    syncobj.reset()
                }
            }
        }
    }
}
