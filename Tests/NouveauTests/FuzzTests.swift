import CWireProtocol
import Device
import Glibc
import TestSupport
import Testing

@Suite("nouveau: any bytes at all")
struct FuzzTests {
    @Test("Random arguments, blocks and requests answer an errno or a result, and never trap")
    func randomCalls() throws {
        let seed: UInt64 = 0xf022_0001
        var random = SplitMix64(seed: seed)
        let fixture = try NouveauFixture()
        let file = fixture.open()
        try file.vmInit()
        for _ in 0..<4 { _ = try file.gemNew(16384) }
        for _ in 0..<4 { _ = try file.syncobjCreate(signalled: true) }
        _ = try file.channelAlloc()
        let requests: [UInt32] = [
            Request.version, Request.gemClose, Request.getCap, Request.primeHandleToFD,
            Request.primeFDToHandle, Request.getParam, Request.channelAlloc,
            Request.channelFree, Request.vmInit, Request.vmBind, Request.exec, Request.gemNew,
            Request.gemCPUPrep, Request.gemInfo, Request.syncobjCreate,
            Request.syncobjDestroy, Request.syncobjHandleToFD, Request.syncobjFDToHandle,
            Request.syncobjWait, Request.syncobjReset, Request.syncobjSignal,
            Request.syncobjTimelineWait, Request.syncobjQuery, Request.syncobjTransfer,
            Request.syncobjTimelineSignal, Request.syncobjEventFD, Request.nvif(24),
            Request.nvif(72), Request.nvif(136), Request.nvif(160),
        ]
        // Small numbers are counts, handles and flags that exist; others are anything.
        func value() -> UInt64 {
            switch random.next() % 8 {
            case 0: random.next()
            case 1: UInt64.max - random.next() % 8192
            case 2: random.next() % 64 * 4096
            case 3: (1 << 39) - random.next() % 4 * 4096
            default: random.next() % 6
            }
        }
        func bytes(_ count: Int) -> Bytes {
            var bytes = Bytes(count)
            var offset = 0
            while offset + 4 <= count {
                let isLong = offset % 8 == 0 && offset + 8 <= count && random.next() % 2 == 0
                bytes =
                    isLong
                    ? bytes.put(offset, value())
                    : bytes.put(offset, UInt32(truncatingIfNeeded: value()))
                offset += isLong ? 8 : 4
            }
            return bytes
        }
        for round in 0..<6000 {
            var request = requests[Int(random.next() % UInt64(requests.count))]
            if random.next() % 16 == 0 { request ^= 1 << UInt32(random.next() % 32) }
            let argument = bytes(Int(request >> 16 & 0x3fff))
            let blocks = (0..<Int(random.next() % 4)).map { index in
                IoctlBlock(
                    parent: UInt32(random.next() % 2) * UInt32(index),
                    pointerOffset: UInt32(random.next() % 6 * 8),
                    isOutput: random.next() % 2 == 0,
                    contents: IoctlBytes(bytes(Int(random.next() % 24) * 20).bytes))
            }
            let answer = Answer()
            let pending = file.file.ioctl(
                IoctlCall(
                    request: IoctlRequest(request), argument: IoctlBytes(argument.bytes),
                    blocks: blocks)
            ) { answer.complete($0) }
            pending?.cancel()
            let reply = try #require(answer.get(), "round \(round), seed \(seed)")
            #expect(reply.result <= 0 && reply.result > -200)
            #expect(reply.argument.count == argument.bytes.count)
            #expect(reply.outputs.count == blocks.count { $0.isOutput })
        }
        #expect(fixture.shared.statistics.current.total > 6000)
    }

    @Test("The messages of the shim are as long as the header's comments say")
    func layout() {
        #expect(MemoryLayout<gpuvm_drm_open>.size == 48)
        #expect(MemoryLayout<gpuvm_drm_open_reply>.size == 40)
        #expect(MemoryLayout<gpuvm_drm_block>.size == 16)
        #expect(MemoryLayout<gpuvm_drm_ioctl>.size == 16)
        #expect(MemoryLayout<gpuvm_drm_ioctl_reply>.size == 16)
        #expect(MemoryLayout<gpuvm_drm_mmap>.size == 24)
        #expect(MemoryLayout<gpuvm_drm_mmap_reply>.size == 16)
    }

    @Test("Another chip: its number, its classes")
    func ada() throws {
        let fixture = try NouveauFixture(model: .ad104)
        let file = fixture.open()
        try file.vmInit()
        let chipset = try file.expect(Request.getParam, Bytes(16).put(0, UInt64(11))).argument
        #expect(chipset.u64(8) == 0x194)
        let channel = try file.channelAlloc()
        let list = Bytes(160).put(1, UInt8(1)).put(7, UInt8(0xff)).put(8, UInt64(channel))
            .put(25, UInt8(16))
        let classes = try file.expect(Request.nvif(160), list).argument
        #expect(
            (0..<5).map { classes.u32(32 + 8 * $0) } == [0x902d, 0xa140, 0xc997, 0xc9c0, 0xc7b5])
    }
}
