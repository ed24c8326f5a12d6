import Device
import Fencing
import Glibc
import Testing

@Suite("nouveau: the old interface, GEM_PUSHBUF")
struct PushbufTests {
    /// A buffer as GEM_NEW describes it.
    private struct Buffer {
        let handle: UInt32
        let address: UInt64
        let memory: MappedMemory

        init(_ file: TestFile, domain: UInt32 = 0x0e, bytes: UInt64 = 64 << 10) throws {
            let made = try file.expect(
                Request.gemNew, Bytes(48).put(4, domain).put(8, bytes)
            ).argument
            handle = made.u32(0)
            address = made.u64(16)
            memory = try file.memory(made.u64(24), bytes)
        }

        /// struct drm_nouveau_gem_pushbuf_bo.
        func listed(read: UInt32 = 6, write: UInt32 = 0, valid: UInt32 = 6) -> Bytes {
            Bytes(40).put(8, handle).put(12, read).put(16, write).put(20, valid)
        }
    }

    /// A file that never called VM_INIT, with a channel and three buffers.
    private struct Setup {
        let fixture: NouveauFixture
        let file: TestFile
        let channel: UInt32
        let push: Buffer
        let source: Buffer
        let target: Buffer

        init() throws {
            fixture = try NouveauFixture()
            file = fixture.open()
            channel = try file.channelAlloc()
            push = try Buffer(file, domain: 0x0c)
            source = try Buffer(file)
            target = try Buffer(file)
            for index in source.memory.bytes.indices {
                source.memory.bytes[index] = UInt8(truncatingIfNeeded: index &* 13 &+ index >> 8)
            }
        }

        var list: [Bytes] {
            [push.listed(), source.listed(), target.listed(write: 2, valid: 2)]
        }

        /// The call, in one push.
        func call(
            _ file: TestFile? = nil, flags: UInt64 = 0, list: [Bytes]? = nil,
            _ build: (inout PushWriter) -> Void
        ) throws -> TestFile.Outcome {
            var writer = PushWriter()
            build(&writer)
            push.memory.write(writer.dwords)
            // {bo_index@0, offset u64@8, length u64@16}, length with NO_PREFETCH.
            let length = UInt64(writer.dwords.count * 4) | 1 << 23
            let pushes = [Bytes(24).put(16, length)]
            return try (file ?? self.file).pushbuf(
                channel, flags: flags, buffers: list ?? self.list, pushes: pushes)
        }
    }

    @Test("Buffers have addresses, and a synchronous push buffer has run when the call returns")
    func life() throws {
        let setup = try Setup()
        let buffers = [setup.push, setup.source, setup.target]
        #expect(Set(buffers.map(\.address)).count == 3)
        #expect(buffers.allSatisfy { $0.address != 0 && $0.address % 65536 == 0 })
        let info = try setup.file.expect(
            Request.gemInfo, Bytes(40).put(0, setup.source.handle)
        ).argument
        #expect(info.u64(16) == setup.source.address)
        let outcome = try setup.call(flags: 1) {
            $0.copy(from: setup.source.address + 1, to: setup.target.address + 2, bytes: 40_000)
        }
        #expect(outcome.result == 0)
        #expect(
            setup.target.memory.bytes[2..<40_002]
                .elementsEqual(setup.source.memory.bytes[1..<40_001]))
        #expect(outcome.argument.u64(40) == 0, "no suffix")
        #expect(outcome.argument.u64(48) == 64 << 20 && outcome.argument.u64(56) == 64 << 20)
    }

    @Test("CPU_PREP waits for the push buffer that writes, and NOWAIT says EBUSY")
    func implicitFences() throws {
        let setup = try Setup()
        let file = setup.file
        let outcome = try setup.call {
            $0.acquire(setup.push.address + 0x8000, 1)
            $0.copy(from: setup.source.address, to: setup.target.address, bytes: 4096)
        }
        #expect(outcome.result == 0)
        let prep = Bytes(8).put(0, setup.target.handle)
        #expect(try file.errno(Request.gemCPUPrep, prep.put(4, UInt32(1))) == EBUSY)
        let (answer, _) = file.start(Request.gemCPUPrep, prep)
        #expect(!answer.isThere)
        setup.push.memory.write([1], at: 0x8000)
        #expect(try #require(answer.get()).result == 0)
        #expect(
            setup.target.memory.bytes[..<4096]
                .elementsEqual(setup.source.memory.bytes[..<4096]))
        #expect(try file.errno(Request.gemCPUPrep, prep.put(4, UInt32(5))) == 0)
        #expect(try file.errno(Request.gemCPUFini, Bytes(4).put(0, setup.target.handle)) == 0)
        #expect(try file.errno(Request.gemCPUFini, Bytes(4).put(0, UInt32(99))) == ENOENT)
    }

    @Test("Push buffers of two channels are ordered by the buffers that they list")
    func twoChannels() throws {
        let setup = try Setup()
        let file = setup.file
        let other = try file.expect(
            Request.channelAlloc, Bytes(88).put(0, UInt32.max).put(4, UInt32(0x30))
        ).argument.u32(8)
        let (result, second) = (try Buffer(file), try Buffer(file, domain: 0x0c))
        #expect(
            try setup.call {
                $0.acquire(setup.push.address + 0x8000, 1)
                $0.copy(from: setup.source.address, to: setup.target.address, bytes: 4096)
            }.result == 0)
        var reader = PushWriter()
        reader.copy(from: setup.target.address, to: result.address, bytes: 4096)
        second.memory.write(reader.dwords)
        let (arguments, blocks) = TestFile.pushbufArguments(
            other, flags: 1,
            buffers: [second.listed(), setup.target.listed(), result.listed(write: 2)],
            pushes: [Bytes(24).put(16, UInt64(reader.dwords.count * 4))])
        let (answer, _) = file.start(Request.gemPushbuf, arguments, blocks)
        // Time enough for one that does not wait, and far from the job's time-out.
        let end = Runtime.deadline(after: 50_000_000)
        while !answer.isThere && Runtime.now() < end { sched_yield() }
        #expect(!answer.isThere, "its source is not written yet")
        setup.push.memory.write([1], at: 0x8000)
        #expect(try #require(answer.get()).result == 0)
        #expect(result.memory.bytes[..<4096].elementsEqual(setup.source.memory.bytes[..<4096]))
    }

    @Test("A buffer that is closed under a job stays until the job has ended, and no longer")
    func closedInFlight() throws {
        let setup = try Setup()
        let file = setup.file
        let expected = Array(setup.source.memory.bytes[..<4096])
        let copy = { (writer: inout PushWriter) in
            writer.copy(from: setup.source.address, to: setup.target.address, bytes: 4096)
        }
        #expect(
            try setup.call {
                $0.acquire(setup.push.address + 0x8000, 1)
                copy(&$0)
            }.result == 0)
        try file.expect(Request.gemClose, Bytes(8).put(0, setup.source.handle))
        setup.push.memory.write([1], at: 0x8000)
        try file.expect(Request.gemCPUPrep, Bytes(8).put(0, setup.target.handle))
        #expect(setup.target.memory.bytes[..<4096].elementsEqual(expected))
        #expect(setup.fixture.device.faults.reports(after: 0, limit: 1).isEmpty)
        // Its address is nothing's now: a fault kills the channel.
        let list = [setup.push.listed(), setup.target.listed(write: 2)]
        // The unmap of a closed buffer is in order with binds, so a new buffer's is behind it.
        _ = try Buffer(file)
        #expect(try setup.call(flags: 1, list: list, copy).result != 0)
        #expect(
            setup.fixture.device.faults.reports(after: 0, limit: 1).first?.address
                == setup.source.address)
        #expect(try setup.call(list: list) { $0.acquire(0, 0) }.result == -ENODEV)
    }

    @Test("A buffer of another file has an address here, too")
    func imported() throws {
        let setup = try Setup()
        let other = setup.fixture.open()
        try other.vmInit()
        let theirs = try other.gemNew(64 << 10, domain: 0x0c)
        let exported = try other.expect(
            Request.primeHandleToFD, Bytes(12).put(0, theirs.handle))
        let descriptor = try #require(exported.descriptor)
        let handle = try setup.file.expect(
            Request.primeFDToHandle, Bytes(12), fds: [descriptor.rawValue]
        ).argument.u32(0)
        let info = try setup.file.expect(Request.gemInfo, Bytes(40).put(0, handle)).argument
        let address = info.u64(16)
        #expect(address != 0)
        let entry = Bytes(40).put(8, handle).put(16, UInt32(4)).put(20, UInt32(4))
        let outcome = try setup.call(flags: 1, list: setup.list + [entry]) {
            $0.copy(from: setup.source.address, to: address, bytes: 4096)
        }
        #expect(outcome.result == 0)
        let memory = try other.memory(theirs.mapHandle, 64 << 10)
        #expect(memory.bytes[..<4096].elementsEqual(setup.source.memory.bytes[..<4096]))
    }

    @Test("What GEM_PUSHBUF refuses")
    func refusals() throws {
        let setup = try Setup()
        let file = setup.file
        let modern = setup.fixture.open()
        try modern.vmInit()
        #expect(try modern.pushbuf(1, buffers: [], pushes: []).result == -ENOSYS)
        #expect(try file.pushbuf(99, buffers: [], pushes: []).result == -ENOENT)
        let stranger = setup.fixture.open()
        #expect(try stranger.pushbuf(setup.channel, buffers: [], pushes: []).result == -ENOENT)
        let empty = try file.pushbuf(setup.channel, buffers: [], pushes: [])
        #expect(empty.result == 0 && empty.argument.u64(48) == 64 << 20)
        let push = Bytes(24)
        func refused(_ list: [Bytes], _ pushes: [Bytes]) throws -> Int32 {
            -(try file.pushbuf(setup.channel, buffers: list, pushes: pushes).result)
        }
        #expect(try refused(setup.list, Array(repeating: push, count: 513)) == EINVAL)
        #expect(
            try refused(Array(repeating: setup.push.listed(), count: 1025), [push]) == EINVAL)
        #expect(try refused(setup.list, [push.put(0, UInt32(3))]) == EINVAL, "not listed")
        #expect(try refused([], [push]) == EINVAL)
        let twice = [setup.push.listed(), setup.push.listed()]
        #expect(try refused(twice, [push]) == EINVAL)
        #expect(try refused([Bytes(40).put(8, UInt32(99)).put(20, UInt32(6))], [push]) == ENOENT)
        #expect(try refused([setup.push.listed(valid: 1)], [push]) == EINVAL, "nowhere")
        // The push buffer's buffer may only be in GART.
        #expect(try refused([setup.push.listed(valid: 2)], [push]) == EINVAL)
        #expect(try refused([setup.push.listed(read: 2)], [push]) == EINVAL)
        #expect(try refused([setup.push.listed(write: 2)], [push]) == EINVAL)
        #expect(try refused([setup.push.listed(read: 0)], [push]) == EINVAL)
        let arguments = Bytes(64).put(0, setup.channel).put(20, UInt32(1))
        #expect(try file.errno(Request.gemPushbuf, arguments) == EFAULT)
        #expect(
            try file.errno(Request.gemPushbuf, arguments.put(16, UInt32(1025))) == EINVAL)
        #expect(
            try file.errno(
                Request.gemPushbuf, arguments.put(4, UInt32(1)),
                [TestFile.Block(offset: 32, bytes: push)]) == EFAULT)
        // Nothing of all that has harmed the channel.
        #expect(try setup.call(flags: 1) { $0.acquire(setup.target.address, 0) }.result == 0)
    }

    @Test("Addresses are not given out again before all others were, and never twice")
    func addresses() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        var live: [UInt32: Range<UInt64>] = [:]
        var seen: Set<UInt64> = []
        for round in 0..<400 {
            let bytes = UInt64([4096, 12288, 65536, 1 << 20, 2 << 20][round % 5])
            let made = try file.expect(
                Request.gemNew, Bytes(48).put(4, UInt32(4)).put(8, bytes)
            ).argument
            let range = made.u64(16)..<made.u64(16) + bytes
            #expect(!live.values.contains { $0.overlaps(range) }, "round \(round)")
            #expect(seen.insert(range.lowerBound).inserted, "round \(round)")
            live[made.u32(0)] = range
            if live.count > 20, let victim = live.keys.min() {
                try file.expect(Request.gemClose, Bytes(8).put(0, victim))
                live[victim] = nil
            }
        }
        file.file.close()
        #expect(fixture.device.status().systemUsed == 0)
    }
}

extension TestFile {
    fileprivate static func pushbufArguments(
        _ channel: UInt32, flags: UInt64, buffers: [Bytes], pushes: [Bytes]
    ) -> (Bytes, [Block]) {
        var blocks: [Block] = []
        if !buffers.isEmpty { blocks.append(Block(offset: 8, bytes: .joined(buffers))) }
        if !pushes.isEmpty { blocks.append(Block(offset: 32, bytes: .joined(pushes))) }
        return (
            Bytes(64).put(0, channel).put(4, UInt32(buffers.count))
                .put(20, UInt32(pushes.count)).put(48, flags), blocks
        )
    }

    fileprivate func pushbuf(
        _ channel: UInt32, flags: UInt64 = 0, buffers: [Bytes], pushes: [Bytes]
    ) throws -> Outcome {
        let (arguments, blocks) = Self.pushbufArguments(
            channel, flags: flags, buffers: buffers, pushes: pushes)
        return try call(Request.gemPushbuf, arguments, blocks)
    }
}
