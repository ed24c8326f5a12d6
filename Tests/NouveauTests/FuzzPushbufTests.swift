import Device
import Fencing
import Glibc
import TestSupport
import Testing

@testable import GPUVMDaemon

@Suite("nouveau: push buffers and descriptors, any bytes at all")
struct FuzzPushbufTests {
    @Test("GEM_PUSHBUF of anything is answered, and its faults can be told", arguments: 0..<6)
    func pushbufs(_ seed: Int) throws {
        var random = SplitMix64(seed: UInt64(seed) &* 104729 &+ 3)
        let fixture = try NouveauFixture { $0.vramBytes = 8 << 20 }
        let file = fixture.open()
        var channel = try file.channelAlloc()
        var handles: [UInt32] = []
        for _ in 0..<8 {
            handles.append(
                try file.expect(Request.gemNew, Bytes(48).put(4, UInt32(6)).put(8, UInt64(1) << 20))
                    .argument.u32(0))
        }
        func value() -> UInt64 {
            switch random.next() % 8 {
            case 0: random.next()
            case 1: UInt64.max - random.next() % 8192
            case 2: random.next() % 64 * 4096
            case 3: (1 << 40) - random.next() % 4 * 4096
            default: random.next() % 10
            }
        }
        for _ in 0..<1500 {
            if random.next() % 40 == 0 {
                let size = random.next() % 8 == 0 ? random.next() : (random.next() % 64 + 1) << 14
                let made = try file.call(
                    Request.gemNew, Bytes(48).put(4, UInt32(random.next() % 16)).put(8, size))
                if made.result == 0 { handles.append(made.argument.u32(0)) }
            }
            if random.next() % 60 == 0 {
                _ = try file.call(Request.channelFree, Bytes(4).put(0, channel))
                channel = try file.channelAlloc()
            }
            if random.next() % 50 == 0, handles.count > 2 {
                let gone = handles.remove(at: Int(random.next() % UInt64(handles.count)))
                _ = try file.call(Request.gemClose, Bytes(8).put(0, gone))
            }
            if random.next() % 20 == 0 {
                _ = try file.call(
                    Request.gemCPUPrep,
                    Bytes(8).put(0, handles[0]).put(4, UInt32(random.next() % 8)))
            }
            let count = Int(random.next() % 6)
            var list: [Bytes] = []
            var pool = handles
            for _ in 0..<count where !pool.isEmpty {
                let handle = pool.remove(at: Int(random.next() % UInt64(pool.count)))
                list.append(
                    Bytes(40).put(8, random.next() % 30 == 0 ? UInt32(random.next() % 99) : handle)
                        .put(12, UInt32(6)).put(16, UInt32(random.next() % 2 * 6)).put(
                            20, UInt32(6)))
            }
            let pushes = (0..<Int(random.next() % 4)).map { _ in
                Bytes(24).put(
                    0,
                    UInt32(
                        truncatingIfNeeded: random.next() % 8 == 0
                            ? value() : random.next() % UInt64(max(1, count)))
                )
                .put(8, value()).put(16, value())
            }
            let head = Bytes(64).put(0, channel).put(
                4,
                random.next() % 16 == 0 ? UInt32(truncatingIfNeeded: value()) : UInt32(list.count)
            )
            .put(16, UInt32(truncatingIfNeeded: random.next() % 16 == 0 ? value() : 0)).put(
                20,
                random.next() % 16 == 0 ? UInt32(truncatingIfNeeded: value()) : UInt32(pushes.count)
            )
            .put(48, random.next() % 2)
            var blocks: [TestFile.Block] = []
            if !list.isEmpty { blocks.append(.init(offset: 8, bytes: .joined(list))) }
            if !pushes.isEmpty { blocks.append(.init(offset: 32, bytes: .joined(pushes))) }
            let (answer, _) = file.start(Request.gemPushbuf, head, blocks)
            let reply = try #require(answer.get(), "no answer")
            #expect(reply.result <= 0)
            if reply.result == -ENODEV {
                _ = try file.call(Request.channelFree, Bytes(4).put(0, channel))
                channel = try file.channelAlloc()
            }
        }
        for report in fixture.device.faults.reports(after: 0, limit: 1000) {
            _ = TraceText.line(.device(.fault(report), 0))
        }
    }

    @Test("SYNC_IOC and DMA_BUF calls of anything are answered", arguments: 0..<4)
    func descriptors(_ seed: Int) throws {
        var random = SplitMix64(seed: UInt64(seed) &* 15485863 &+ 5)
        let fixture = try NouveauFixture()
        let file = fixture.open()
        try file.vmInit()
        let channel = try file.channelAlloc()
        let buffer = try file.gemNew(16384, domain: 0x0c).handle
        let dma = try #require(
            try file.expect(Request.primeHandleToFD, Bytes(12).put(0, buffer)).descriptor)
        let object = try file.syncobjCreate()
        #expect(try file.exec(channel, [], signals: [Sync(handle: object)]) == 0)
        let sync = try #require(
            try file.expect(
                Request.syncobjHandleToFD, Bytes(16).put(0, object).put(4, UInt32(1))
            ).descriptor)
        let client = fixture.device.makeClient(name: "d", process: 1, user: 0, isPrivileged: false)
        let calls = DescriptorCalls(fixture.shared, client: client)
        let requests: [UInt32] = [
            0xc030_3e03, 0xc038_3e04, 0x4010_3e05, 0x4008_6200, 0x4004_6201, 0x4008_6201,
            0xc008_6202, 0x4008_6203,
        ]
        var kept: [IoctlDescriptor] = []
        for round in 0..<3000 {
            var request = requests[Int(random.next() % 8)]
            if random.next() % 10 == 0 { request ^= 1 << UInt32(random.next() % 32) }
            var bytes = Bytes(Int(request >> 16 & 0x3fff))
            var offset = 0
            while offset + 4 <= bytes.bytes.count {
                let v: UInt64 =
                    random.next() % 3 != 0
                    ? 0 : random.next() % 3 == 0 ? random.next() : random.next() % 8
                bytes = bytes.put(offset, UInt32(truncatingIfNeeded: v))
                offset += 4
            }
            let blocks = (0..<Int(random.next() % 3)).map { _ in
                IoctlBlock(
                    parent: 0, pointerOffset: [48, 4, 8, 0][Int(random.next() % 4)],
                    isOutput: random.next() % 2 == 0,
                    contents: IoctlBytes(zeros: Int(random.next() % 400)))
            }
            var fds: [Int32] = []
            for _ in 0..<(random.next() % 3) {
                switch random.next() % 4 {
                case 0: fds.append(dma.rawValue)
                case 1: fds.append(sync.rawValue)
                case 2: fds.append(kept.last?.rawValue ?? 0)
                default: fds.append(0)
                }
            }
            let answer = Answer()
            let call = IoctlCall(
                request: IoctlRequest(request), argument: IoctlBytes(bytes.bytes), blocks: blocks,
                descriptors: fds)
            let pending = calls.ioctl(call) { answer.complete($0) }
            pending?.cancel()
            let reply = try #require(answer.get(), "round \(round)")
            if let made = reply.descriptor, kept.count < 30 { kept.append(made) }
            _ = TraceText.line(.ioctl(1, stream: 1, call, reply, 0, 1))
            var any = call
            any = IoctlCall(
                request: IoctlRequest(
                    UInt32(truncatingIfNeeded: random.next()) & 0x3fff_00ff | 0x6400),
                argument: IoctlBytes(bytes.bytes), blocks: blocks, descriptors: [])
            _ = TraceText.line(.ioctl(1, stream: 1, any, reply, 0, 1))
        }
        client.close()
    }
}
