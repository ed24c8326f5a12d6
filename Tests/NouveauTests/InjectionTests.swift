import Device
import Fencing
import Glibc
import Testing

/// Faults on purpose as a DRM program meets them: which ioctl answers what.
@Suite("nouveau: faults on purpose", .timeLimit(.minutes(1)))
struct InjectionTests {
    private func inject(
        _ fixture: NouveauFixture, _ kind: InjectionKind,
        _ change: (inout InjectionRule) -> Void = { _ in }
    ) throws {
        let control = fixture.device.makeClient(
            name: "control", process: 1, user: 0, isPrivileged: true)
        defer { control.close() }
        var rule = InjectionRule(kind)
        change(&rule)
        _ = try control.inject(rule)
    }

    private func seen(_ fixture: NouveauFixture) -> [UInt64] {
        fixture.device.injector.rules.map(\.seen)
    }

    /// The calls of one file in order; each twice short of memory, then carried out.
    @Test("Each ioctl that takes memory can answer ENOMEM, and succeeds afterwards")
    func shortage() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        let init_ = Bytes(16).put(0, UInt64(1) << 39).put(8, UInt64(1) << 39)
        let new = Bytes(48).put(4, UInt32(0x2e)).put(8, UInt64(0x10000))
        var answers: [Int32] = []
        func thrice(
            _ operation: InjectionOperations, _ call: () throws -> Int32
        ) throws {
            try inject(fixture, .shortage) {
                ($0.operations, $0.schedule.count) = (operation, 2)
            }
            for _ in 0..<3 { answers.append(try call()) }
        }
        try thrice(.vmCreate) { try file.errno(Request.vmInit, init_) }
        try thrice(.bufferCreate) { try file.errno(Request.gemNew, new) }
        try thrice(.queueCreate) { try file.errno(Request.channelAlloc, Bytes(88)) }
        try thrice(.syncobjCreate) { try file.errno(Request.syncobjCreate, Bytes(8)) }
        let buffer = try file.gemNew(0x10000, domain: 0x2e)
        try thrice(.bind) { try file.bind([.map(buffer.handle, at: 0x10000, 0x10000)]) }
        let channel = try file.channelAlloc()
        try thrice(.exec) { try file.exec(channel, []) }
        try thrice(.map) {
            do throws(IoctlError) {
                _ = try file.file.map(offset: buffer.mapHandle, length: 0x10000)
                return 0
            } catch {
                return error.errno
            }
        }
        #expect(answers == Array(repeating: [ENOMEM, ENOMEM, 0], count: 7).flatMap { $0 })
        #expect(seen(fixture) == [2, 2, 2, 2, 2, 2, 2])
        #expect(fixture.device.injector.firings().allSatisfy { $0.kind == .shortage })
    }

    @Test("What an ioctl takes inside is no request of its own")
    func inside() throws {
        let fixture = try NouveauFixture()
        for operation in [InjectionOperations.bufferCreate, .vmCreate, .bind] {
            try inject(fixture, .shortage) {
                ($0.operations, $0.schedule.count) = (operation, 0)
            }
        }
        let file = fixture.open()
        // The channel's notifier is a buffer; the old interface makes a VM and binds in it.
        _ = try file.channelAlloc()
        #expect(seen(fixture) == [0, 0, 0])
        let refused = try file.errno(
            Request.gemNew, Bytes(48).put(4, UInt32(4)).put(8, UInt64(4096)))
        #expect(refused == ENOMEM)
        #expect(seen(fixture) == [1, 0, 0])
        // What is wrong with a call comes before.
        let empty = try file.errno(Request.gemNew, Bytes(48).put(4, UInt32(4)))
        #expect(empty == EINVAL && seen(fixture) == [1, 0, 0])
    }

    @Test("After a fault, a hang, and a lost device EXEC answers ENODEV, and a new channel works")
    func lostChannels() throws {
        for kind in [InjectionKind.fault, .hang, .deviceLost] {
            let setup = try ExecSetup(configure: { $0.jobTimeout = 100_000_000 })
            let file = setup.file
            let other = setup.fixture.open()
            try other.vmInit()
            let otherChannel = try other.channelAlloc()
            try inject(setup.fixture, kind) { $0.target.client = file.file.client.id }
            #expect(try other.exec(otherChannel, []) == 0)
            let push = setup.write {
                $0.copy(from: ExecSetup.sourceVA, to: ExecSetup.targetVA, bytes: 0x1000)
            }
            let first = try file.exec(
                setup.channel, push, signals: [.timeline(setup.timeline, 1)])
            if kind == .deviceLost {
                #expect(first == ENODEV)
            } else {
                #expect(first == 0)
                // As in the kernel, an error of the job is no error of the wait.
                #expect(try file.timelineWait([(setup.timeline, 1)]) == 0)
            }
            #expect(setup.target.bytes[0] == 0, "\(kind): nothing was copied")
            // The health check of a driver, and its next job.
            #expect(try file.exec(setup.channel, []) == ENODEV, "\(kind)")
            #expect(try file.exec(setup.channel, push) == ENODEV, "\(kind)")
            #expect(try other.exec(otherChannel, []) == 0)
            // The file's VM goes on, and so does a new channel in it.
            #expect(try file.bind([.unmap(0x4000_0000, 0x1000)]) == 0)
            let channel = try file.channelAlloc()
            #expect(
                try file.exec(channel, push, signals: [.timeline(setup.timeline, 2)]) == 0)
            #expect(try file.timelineWait([(setup.timeline, 2)]) == 0)
            #expect(
                setup.target.bytes[0..<0x1000].elementsEqual(setup.source.bytes[0..<0x1000]))
            let faults = setup.fixture.device.faults.reports(after: 0, limit: .max)
            #expect(faults.map(\.injection) == (kind == .fault ? [1] : []))
            #expect(faults.first.map { $0.address == ExecSetup.pushVA } != false)
        }
    }

    @Test("A synchronous bind that is delayed answers late, and holds up nobody")
    func delayedBind() throws {
        let fixture = try NouveauFixture()
        let (file, other) = (fixture.open(), fixture.open())
        for one in [file, other] { try one.vmInit() }
        let buffer = try file.gemNew(0x1000)
        try inject(fixture, .delay) {
            ($0.operations, $0.duration) = (.bind, 150_000_000)
            $0.target.client = file.file.client.id
        }
        let began = Runtime.now()
        let (bytes, blocks) = file.arguments(
            1, 0, waits: [], signals: [],
            array: [BindOp.map(buffer.handle, at: 0x10000, 0x1000).bytes])
        let pending = file.start(Request.vmBind, bytes, blocks)
        #expect(try other.bind([.unmap(0x10000, 0x1000)]) == 0)
        let reply = try #require(pending.answer.get())
        #expect(reply.result == 0)
        #expect(Runtime.now() - began >= 150_000_000)
    }

    @Test("The old interface's push buffers meet what EXEC meets")
    func legacy() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        let buffer = try file.gemNew(0x1000, domain: 4)
        let channel = try file.channelAlloc()
        let listed = Bytes(40).put(8, buffer.handle).put(12, UInt32(4)).put(20, UInt32(4))
        let push = Bytes(24).put(16, UInt64(8))
        func submit() throws -> Int32 {
            try file.errno(
                Request.gemPushbuf,
                Bytes(64).put(0, channel).put(4, UInt32(1)).put(20, UInt32(1)),
                [
                    TestFile.Block(offset: 8, bytes: listed),
                    TestFile.Block(offset: 32, bytes: push),
                ])
        }
        #expect(try submit() == 0)
        try inject(fixture, .shortage) { $0.operations = .exec }
        #expect(try submit() == ENOMEM)
        #expect(try submit() == 0)
        try inject(fixture, .deviceLost)
        #expect(try submit() == ENODEV)
    }
}
