import Glibc
import Testing

@testable import Fencing

@Suite struct SyncobjWaitTests {
    typealias Flags = SyncobjWait.Flags

    /// The state of one target when a wait polls.
    enum State: CaseIterable, Sendable {
        case empty, pending, signalled
    }

    static let flagSets: [Flags] = (0..<8).map { Flags(rawValue: $0) }

    /// What the kernel's text says of a poll: an empty object is EINVAL unless the wait may wait for
    /// a fence; a target is satisfied if signalled, or if AVAILABLE is content with a fence.
    static func expected(_ states: [State], _ flags: Flags) -> SyncobjWait.Outcome {
        let waitsForFence = flags.contains(.forSubmit) || flags.contains(.available)
        if let empty = states.firstIndex(of: .empty), !waitsForFence {
            return .failure(.notSubmitted(point: UInt64(empty)))
        }
        let satisfied = states.indices.filter {
            states[$0] == .signalled || (flags.contains(.available) && states[$0] == .pending)
        }
        let needed = flags.contains(.all) ? states.count : 1
        return satisfied.count >= needed
            ? .success(UInt32(satisfied[0])) : .failure(.timeExpired)
    }

    @Test(arguments: flagSets) func everyFlagCombinationPolls(flags: Flags) throws {
        let timers = TimerQueue()
        for a in State.allCases {
            for b in State.allCases {
                for c in State.allCases {
                    let states = [a, b, c]
                    let pending = makeFence()
                    let targets = states.enumerated().map { index, state in
                        // Points equal to the index; target 0 is a binary object.
                        let syncobj = Syncobj()
                        let fence: Fence = state == .pending ? pending : .makeSignalled()
                        if state != .empty {
                            if index == 0 {
                                syncobj.replaceFence(fence)
                            } else {
                                syncobj.addPoint(FenceChain(), fence: fence, point: UInt64(index))
                            }
                        }
                        return SyncobjWait.Target(syncobj, point: UInt64(index))
                    }
                    let expected = Self.expected(states, flags)
                    for deadline in [0, -1, Int64.min, 1] {
                        let completion = Completion()
                        SyncobjWait.start(
                            targets, flags: flags, deadline: deadline, timers: timers
                        ) { completion($0) }
                        #expect(completion.all == [expected], "\(states) \(flags.rawValue)")
                    }
                }
            }
        }
    }

    @Test func badArguments() {
        let timers = TimerQueue()
        let none = Completion()
        SyncobjWait.start([], timers: timers) { none($0) }
        #expect(none.all.count == 1 && none.all.first?.errno == EINVAL)
        let unknown = Completion()
        SyncobjWait.start(
            [.init(Syncobj(signalled: true))], flags: Flags(rawValue: 8), timers: timers
        ) { unknown($0) }
        #expect(unknown.all.first?.errno == EINVAL)
    }

    @Test func anyReportsTheOneThatSignals() {
        let timers = TimerQueue()
        let objects = (0..<4).map { _ in Syncobj() }
        let fences = objects.map { object in
            let fence = makeFence()
            object.replaceFence(fence)
            return fence
        }
        let completion = Completion()
        SyncobjWait.start(objects.map { .init($0) }, timers: timers) { completion($0) }
        #expect(completion.all.isEmpty)
        fences[2].signal()
        #expect(completion.all == [.success(2)])
        for fence in fences { fence.signal() }
        #expect(completion.all.count == 1)
    }

    @Test func allWaitsForTheLast() {
        let timers = TimerQueue()
        let fences = (0..<3).map { _ in makeFence() }
        let objects = fences.map { fence in
            let object = Syncobj()
            object.replaceFence(fence)
            return object
        }
        fences[1].signal()
        let completion = Completion()
        SyncobjWait.start(objects.map { .init($0) }, flags: .all, timers: timers) { completion($0) }
        fences[0].signal()
        #expect(completion.all.isEmpty)
        fences[2].signal(error: EIO)
        // The kernel reports what was satisfied at the beginning.
        #expect(completion.all == [.success(1)])
    }

    @Test func forSubmitWaitsForTheFenceAndThenForItsSignal() {
        let timers = TimerQueue()
        let syncobj = Syncobj()
        let completion = Completion()
        SyncobjWait.start([.init(syncobj, point: 5)], flags: .forSubmit, timers: timers) {
            completion($0)
        }
        let early = makeFence()
        syncobj.addPoint(FenceChain(), fence: early, point: 4)
        early.signal()
        #expect(completion.all.isEmpty)
        let fence = makeFence()
        syncobj.addPoint(FenceChain(), fence: fence, point: 6)
        #expect(completion.all.isEmpty)
        fence.signal()
        #expect(completion.all == [.success(0)])
    }

    @Test(arguments: [Flags.available, [.available, .forSubmit]])
    func availableReturnsOnceAFenceIsAttached(flags: Flags) {
        let timers = TimerQueue()
        let syncobj = Syncobj()
        let completion = Completion()
        SyncobjWait.start([.init(syncobj, point: 5)], flags: flags, timers: timers) {
            completion($0)
        }
        syncobj.addPoint(FenceChain(), fence: makeFence(), point: 4)
        #expect(completion.all.isEmpty)
        syncobj.addPoint(FenceChain(), fence: makeFence(), point: 5)
        #expect(completion.all == [.success(0)])
    }

    @Test func aWaitKeepsToTheFenceItFound() {
        let timers = TimerQueue()
        let syncobj = Syncobj()
        let first = makeFence()
        syncobj.replaceFence(first)
        let completion = Completion()
        SyncobjWait.start([.init(syncobj)], timers: timers) { completion($0) }
        syncobj.replaceFence(makeFence())
        first.signal()
        #expect(completion.all == [.success(0)])
    }

    @Test func theDeadlineEndsAWait() throws {
        let timers = TimerQueue()
        try timers.start()
        let syncobj = Syncobj()
        let completion = Completion()
        let end = deadline(inMilliseconds: 3)
        SyncobjWait.start([.init(syncobj)], flags: .forSubmit, deadline: end, timers: timers) {
            completion($0)
        }
        #expect(completion.wait() == .failure(.timeExpired))
        #expect(Runtime.now() >= UInt64(end))
        syncobj.signal()
        timers.stop()
        #expect(completion.all.count == 1)
        #expect(FencingError.timeExpired.errno == ETIME)
    }

    @Test func aCancelledWaitLeavesNothingBehind() {
        let timers = TimerQueue()
        let pending = makeFence()
        weak var wait: SyncobjWait?
        weak var syncobj: Syncobj?
        let completion = Completion()
        do {
            let listed = Syncobj()
            let attached = Syncobj()
            attached.replaceFence(pending)
            syncobj = listed
            wait = SyncobjWait.start(
                [.init(listed), .init(attached), .init(attached)], flags: .forSubmit,
                deadline: deadline(inMilliseconds: 60_000), timers: timers
            ) { completion($0) }
        }
        #expect(wait != nil)
        #expect(wait?.cancel() == true)
        #expect(wait?.cancel() != true)
        #expect(completion.all == [.failure(.cancelled)])
        #expect(wait == nil && syncobj == nil)
        pending.signal()
        #expect(completion.all.count == 1)
    }

    @Test func theBlockingVariant() throws {
        let syncobj = Syncobj()
        #expect(throws: FencingError.notSubmitted(point: 0)) {
            try SyncobjWait.wait([.init(syncobj)], deadline: 0)
        }
        #expect(throws: FencingError.timeExpired) {
            try SyncobjWait.wait(
                [.init(syncobj)], flags: .forSubmit, deadline: deadline(inMilliseconds: 2))
        }
        let thread = RuntimeThread.start(name: "signaller") { syncobj.signal(point: 7) }
        #expect(try SyncobjWait.wait([.init(syncobj, point: 7)], flags: .forSubmit) == 0)
        thread?.join()
    }
}

extension SyncobjWait.Outcome {
    fileprivate var errno: Int32? {
        if case .failure(let error) = self { error.errno } else { nil }
    }
}
