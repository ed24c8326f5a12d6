import Device
import Glibc
import Testing

@Suite("nouveau: CHANNEL_FREE")
struct ChannelFreeTests {
    @Test("It waits for the job that runs, and cancels the one that waits for a fence")
    func drain() throws {
        let setup = try ExecSetup()
        let file = setup.file
        let other = try file.channelAlloc(copyEngine: true)
        let gate = try file.syncobjCreate()
        let (target, source) = (ExecSetup.targetVA, ExecSetup.sourceVA)
        let running = setup.write {
            $0.acquire(target, 1)
            $0.copy(from: source, to: target + 0x1000, bytes: 256)
        }
        let holding = setup.write(at: 0x1000) { $0.acquire(target + 4, 1) }
        let waiting = setup.write(at: 0x2000) {
            $0.copy(from: source, to: target + 0x2000, bytes: 256)
        }
        #expect(try file.exec(setup.channel, running) == 0)
        #expect(try file.exec(other, holding, signals: [.timeline(gate, 1)]) == 0)
        #expect(
            try file.exec(
                setup.channel, waiting, waits: [.timeline(gate, 1)],
                signals: [.timeline(setup.timeline, 1)]) == 0)
        let (answer, _) = file.start(Request.channelFree, Bytes(4).put(0, setup.channel))
        #expect(!answer.isThere, "the running job is not through its acquire")
        #expect(try file.exec(setup.channel, []) == ENOENT)
        #expect(setup.target.bytes[0x1000..<0x1100].allSatisfy { $0 == 0 })
        setup.target.write([1])
        #expect(try #require(answer.get()).result == 0)
        #expect(
            setup.target.bytes[0x1000..<0x1100].elementsEqual(setup.source.bytes[..<0x100]),
            "it ran to its end before the call returned")
        setup.target.write([1], at: 4)
        #expect(try file.timelineWait([(gate, 1), (setup.timeline, 1)]) == 0)
        #expect(
            setup.target.bytes[0x2000..<0x2100].allSatisfy { $0 == 0 }, "cancelled, not run")
        #expect(setup.fixture.device.faults.reports(after: 0, limit: 1).isEmpty)
        // Others go on, and an idle channel goes at once.
        #expect(try file.exec(other, [], signals: [.timeline(setup.timeline, 2)]) == 0)
        #expect(try file.timelineWait([(setup.timeline, 2)]) == 0)
        try file.expect(Request.channelFree, Bytes(4).put(0, other))
        #expect(try file.errno(Request.channelFree, Bytes(4).put(0, other)) == ENOENT)
    }

    @Test("A job that never ends is killed by its time-out, and the call returns")
    func timeOut() throws {
        let setup = try ExecSetup()
        let blocked = setup.write { $0.acquire(ExecSetup.targetVA, 1) }
        #expect(
            try setup.file.exec(
                setup.channel, blocked, signals: [.timeline(setup.timeline, 1)]) == 0)
        try setup.file.expect(Request.channelFree, Bytes(4).put(0, setup.channel))
        #expect(try setup.file.timelineWait([(setup.timeline, 1)], timeout: 0) == 0)
    }

    @Test("Channels come and go without end, and their notifiers stay")
    func churn() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        try file.vmInit()
        var notifiers: Set<UInt32> = []
        for round in 0..<300 {
            let made = try file.expect(Request.channelAlloc, Bytes(88)).argument
            #expect(try file.exec(made.u32(8), []) == 0, "round \(round)")
            try file.expect(Request.channelFree, Bytes(4).put(0, made.u32(8)))
            notifiers.insert(made.u32(16))
        }
        #expect(notifiers.count == 300, "the driver lets go of its reference, not of the handle")
        for handle in notifiers {
            try file.expect(Request.gemClose, Bytes(8).put(0, handle))
        }
        #expect(fixture.device.status().systemUsed == 0)
    }
}
