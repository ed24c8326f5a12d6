import Device
import Fencing
import Glibc
import TestSupport
import Testing

/// The kernel has a lock around EXEC and CHANNEL_FREE: a job is submitted before the channel goes, and
/// then it runs, or its call finds no channel.
@Suite("nouveau: EXEC and CHANNEL_FREE of one channel at once", .timeLimit(.minutes(1)))
struct ChannelFreeRaceTests {
    /// Counts the threads that have come; all go on when the last one has.
    private final class Gate: Sendable {
        private let arrived = Guarded(.leaf, 0)
        private let changed = Condition()

        func pass(_ count: Int) -> Bool {
            arrived.withLock { $0 += 1 }
            changed.broadcast()
            let end = Runtime.deadline(after: 10_000_000_000)
            return arrived.wait(on: changed, deadline: end) { $0 >= count ? true : nil } ?? false
        }
    }

    private static let submissions = 8

    @Test("What EXEC accepts runs to its end, what comes later finds no channel", arguments: 0..<4)
    func race(_ seed: UInt64) throws {
        let setup = try ExecSetup()
        let file = setup.file
        var random = SplitMix64(seed: seed)
        try file.expect(Request.channelFree, Bytes(4).put(0, setup.channel))
        // Copies of four bytes, each to a place of its own.
        let pushes = (0..<Self.submissions).map { index in
            setup.write(at: 0x100 * index) {
                $0.copy(
                    from: ExecSetup.sourceVA + 0x1000, to: ExecSetup.targetVA + UInt64(4 * index),
                    bytes: 4)
            }
        }
        let copied = Array(setup.source.bytes[0x1000..<0x1004])
        try #require(copied != [0, 0, 0, 0])
        let timeline = setup.timeline
        var point: UInt64 = 0
        var accepted = 0
        for round in 0..<300 {
            let name = "seed \(seed), round \(round)"
            setup.target.write([UInt32](repeating: 0, count: Self.submissions))
            let channel = try file.channelAlloc()
            let gate = Gate()
            let answers = Guarded(.leaf, [Int32?](repeating: nil, count: Self.submissions))
            let first = point
            let thread = try #require(
                RuntimeThread.start(name: "exec", stackBytes: 4 << 20) {
                    _ = gate.pass(2)
                    for index in 0..<Self.submissions {
                        let signal = Sync.timeline(timeline, first + UInt64(index) + 1)
                        let answer = try? file.exec(channel, pushes[index], signals: [signal])
                        answers.withLock { $0[index] = answer }
                        if answer != 0 { return }
                    }
                })
            let isTogether = gate.pass(2)
            // Some come before the first EXEC, some after the last.
            for _ in 0..<random.next() % 4 { _ = try file.query(timeline) }
            let freed = try file.errno(Request.channelFree, Bytes(4).put(0, channel))
            thread.join()
            #expect(isTogether && freed == 0, "\(name)")
            let results = answers.withLock { $0 }.compactMap(\.self)
            let done = results.prefix { $0 == 0 }.count
            #expect(results.dropFirst(done).allSatisfy { $0 == ENOENT }, "\(name): \(results)")
            accepted += done
            guard done > 0 else { continue }
            point = first + UInt64(done)
            try #require(try file.timelineWait([(timeline, point)]) == 0, "\(name)")
            for index in 0..<done {
                let place = setup.target.bytes[4 * index..<4 * index + 4]
                #expect(place.elementsEqual(copied), "\(name): job \(index) of \(done) did not run")
            }
        }
        #expect(accepted > 0)
        #expect(setup.fixture.device.faults.reports(after: 0, limit: 1).isEmpty)
        // The queues have gone, all but what a VM has of its own.
        let last = try file.channelAlloc()
        let with = setup.fixture.device.status().queues
        try file.expect(Request.channelFree, Bytes(4).put(0, last))
        #expect(setup.fixture.device.status().queues == with - 1)
    }
}
