import Device
import Fencing
import Glibc
import Testing

@Suite("nouveau: channels and EXEC")
struct ExecTests {
    private static let pushVA = ExecSetup.pushVA
    private static let sourceVA = ExecSetup.sourceVA
    private static let targetVA = ExecSetup.targetVA

    @Test(
        "A whole life: init, bind, copy behind a timeline, wait, read back",
        arguments: [false, true])
    func life(copyEngine: Bool) throws {
        let setup = try ExecSetup(copyEngine: copyEngine)
        let file = setup.file
        let gate = try file.syncobjCreate()
        try file.expect(
            Request.syncobjTimelineSignal, Bytes(24).put(16, UInt32(1)),
            [file.handles([gate]), file.points([1])])
        let pushes = setup.write {
            $0.copy(from: Self.sourceVA + 3, to: Self.targetVA + 5, bytes: 50_001)
        }
        #expect(
            try file.exec(
                setup.channel, pushes, waits: [.timeline(gate, 1)],
                signals: [.timeline(setup.timeline, 7)]) == 0)
        #expect(try file.timelineWait([(setup.timeline, 7)]) == 0)
        #expect(
            setup.target.bytes[5..<50_006].elementsEqual(setup.source.bytes[3..<50_004]))
        #expect(setup.target.bytes[..<5].allSatisfy { $0 == 0 })
        #expect(setup.target.bytes[50_006...].allSatisfy { $0 == 0 })
        let copied = setup.fixture.shared.engines.reduce(0) { $0 + $1.counters.copiedBytes }
        #expect(copied == 50_001)
        #expect(try file.exec(setup.channel, []) == 0, "a health check")
        try file.expect(Request.channelFree, Bytes(4).put(0, setup.channel))
        #expect(try file.exec(setup.channel, []) == ENOENT)
    }

    @Test("Jobs of a channel run in order, and registers persist over them")
    func order() throws {
        let setup = try ExecSetup()
        let file = setup.file
        var first = PushWriter()
        first.copy(from: Self.sourceVA, to: Self.targetVA, bytes: 64)
        setup.push.write(first.dwords)
        // The second job only names another target and launches again.
        var second = PushWriter()
        second.methods(
            4, 0x408, [UInt32(Self.targetVA >> 32), UInt32(Self.targetVA + 0x1000)])
        second.methods(4, 0x300, [0x386])
        setup.push.write(second.dwords, at: 0x1000)
        #expect(
            try file.exec(
                setup.channel,
                [(Self.pushVA, UInt32(first.dwords.count * 4))],
                signals: [.timeline(setup.timeline, 1)]) == 0)
        #expect(
            try file.exec(
                setup.channel,
                [(Self.pushVA + 0x1000, UInt32(second.dwords.count * 4))],
                signals: [.timeline(setup.timeline, 2)]) == 0)
        #expect(try file.exec(setup.channel, [], signals: [.timeline(setup.timeline, 3)]) == 0)
        #expect(try file.timelineWait([(setup.timeline, 3)]) == 0)
        #expect(setup.target.bytes[0x1000..<0x1040].elementsEqual(setup.source.bytes[0..<64]))
    }

    @Test("A sparse region reads zero and drops writes; a hole faults and kills the channel")
    func sparse() throws {
        let setup = try ExecSetup()
        let file = setup.file
        let region: UInt64 = 0x400_0000
        #expect(try file.bind([.mapSparse(region, 1 << 20)]) == 0)
        #expect(
            try file.bind([.map(setup.sourceHandle, at: region + 0x1000, 0x1000)]) == 0)
        setup.target.fill(0xee)
        let pushes = setup.write {
            $0.copy(from: Self.sourceVA + 0x4000, to: region + 0x8000, bytes: 0x1000)
            $0.copy(from: region, to: Self.targetVA, bytes: 0x3000)
            $0.copy(from: region + 0x8000, to: Self.targetVA + 0x3000, bytes: 0x1000)
        }
        #expect(
            try file.exec(setup.channel, pushes, signals: [.timeline(setup.timeline, 1)]) == 0)
        #expect(try file.timelineWait([(setup.timeline, 1)]) == 0)
        #expect(setup.target.bytes[0..<0x1000].allSatisfy { $0 == 0 })
        #expect(
            setup.target.bytes[0x1000..<0x2000].elementsEqual(setup.source.bytes[0..<0x1000]))
        #expect(setup.target.bytes[0x2000..<0x4000].allSatisfy { $0 == 0 })

        // Unmapped inside of the region: zero again.
        #expect(try file.bind([.unmap(region + 0x1000, 0x1000)]) == 0)
        setup.target.fill(0xee)
        #expect(
            try file.exec(
                setup.channel,
                setup.write { $0.copy(from: region + 0x1000, to: Self.targetVA, bytes: 0x1000) },
                signals: [.timeline(setup.timeline, 2)]) == 0)
        #expect(try file.timelineWait([(setup.timeline, 2)]) == 0)
        #expect(setup.target.bytes[0..<0x1000].allSatisfy { $0 == 0 })

        // Without the region it is a fault: the fence signals, and the channel is dead.
        #expect(try file.bind([.unmapSparse(region, 1 << 20)]) == 0)
        #expect(
            try file.exec(
                setup.channel, setup.write { $0.copy(from: region, to: Self.targetVA, bytes: 16) },
                signals: [.timeline(setup.timeline, 3)]) == 0)
        #expect(try file.timelineWait([(setup.timeline, 3)]) == 0)
        #expect(try file.exec(setup.channel, []) == ENODEV)
        #expect(
            setup.fixture.device.faults.reports(after: 0, limit: .max).last?.address == region)
        // Others go on.
        let other = try file.channelAlloc()
        #expect(try file.exec(other, [], signals: [.timeline(setup.timeline, 4)]) == 0)
        #expect(try file.timelineWait([(setup.timeline, 4)]) == 0)
    }

    @Test("A job waits for the bind that its timeline names, and the bind for its own")
    func bindSubmitChain() throws {
        let setup = try ExecSetup()
        let file = setup.file
        let gate = try file.syncobjCreate()
        let late: UInt64 = 0x600_0000
        // Host-signalled later: the point has a fence as soon as another timeline's is transferred.
        let blocker = try file.syncobjCreate()
        #expect(try file.exec(setup.channel, [], signals: [Sync(handle: blocker)]) == 0)
        #expect(
            try file.bind(
                [.map(setup.sourceHandle, at: late, 0x1000)], asynchronous: true,
                waits: [Sync(handle: blocker)], signals: [.timeline(gate, 1)]) == 0)
        #expect(
            try file.exec(
                setup.channel, setup.write { $0.copy(from: late, to: Self.targetVA, bytes: 256) },
                waits: [.timeline(gate, 1)], signals: [.timeline(setup.timeline, 1)]) == 0)
        #expect(try file.timelineWait([(setup.timeline, 1)]) == 0)
        #expect(setup.target.bytes[0..<256].elementsEqual(setup.source.bytes[0..<256]))
    }

    @Test("What EXEC refuses")
    func refusals() throws {
        let setup = try ExecSetup()
        let file = setup.file
        let empty = try file.syncobjCreate()
        #expect(try file.exec(99, []) == ENOENT)
        let push = (address: Self.pushVA, bytes: UInt32(0))
        #expect(
            try file.exec(setup.channel, [(address: Self.pushVA, bytes: 0x80_0000)]) == EINVAL)
        #expect(try file.exec(setup.channel, Array(repeating: push, count: 511)) == EINVAL)
        #expect(try file.exec(setup.channel, Array(repeating: push, count: 510)) == 0)
        #expect(try file.exec(setup.channel, [], waits: [Sync(handle: empty)]) == EINVAL)
        #expect(try file.exec(setup.channel, [], waits: [Sync(handle: 99)]) == ENOENT)
        #expect(try file.exec(setup.channel, [], signals: [Sync(handle: 99)]) == ENOENT)
        #expect(
            try file.exec(setup.channel, [], waits: [Sync(handle: empty, flags: 5)])
                == EOPNOTSUPP)
        #expect(
            try file.exec(setup.channel, [], signals: [Sync(handle: empty, flags: 5)]) == EINVAL)
        #expect(
            try file.errno(
                Request.exec, Bytes(40).put(0, setup.channel).put(4, UInt32(1))) == EFAULT)
        #expect(try file.errno(Request.channelFree, Bytes(4).put(0, UInt32(99))) == ENOENT)
        let alloc = Bytes(88).put(0, UInt32.max)
        #expect(try file.errno(Request.channelAlloc, alloc.put(4, UInt32(5))) == ENOSYS)
        #expect(try file.errno(Request.channelAlloc, alloc.put(4, UInt32(2))) == EINVAL)
        #expect(
            try file.errno(Request.channelAlloc, Bytes(88).put(4, UInt32.max)) == EINVAL)
    }

    @Test("Closing a file releases everything, pending jobs included")
    func close() throws {
        let setup = try ExecSetup()
        let waiting = try setup.file.syncobjCreate()
        let (answer, _) = setup.file.start(
            Request.syncobjWait, setup.file.waitArguments(1, flags: 2, timeout: .max),
            [setup.file.handles([waiting])])
        #expect(!answer.isThere)
        setup.file.file.close()
        let device = setup.fixture.device
        for _ in 0..<100_000 {
            let status = device.status()
            if status.vramUsed + status.systemUsed == 0 { break }
            sched_yield()
        }
        let status = device.status()
        #expect(status.vramUsed == 0 && status.systemUsed == 0)
        #expect(status.clients == 0 && status.vms == 0)
        #expect(try setup.file.exec(setup.channel, []) == ENOSYS)
        #expect(try setup.file.errno(Request.syncobjCreate, Bytes(8)) == ENOSPC)
    }
}
