import Device
import Glibc
import Testing

/// What a hostile or careless program gets from each call; the errnos are those of the kernel's code
/// (drivers/gpu/drm/nouveau/nouveau_{abi16,bo,exec,gem,sched,uvmm}.c of Linux 6.17).
@Suite("nouveau: bad calls")
struct UAPITests {
    private static let page: UInt64 = 4096

    @Test("Push buffers of both interfaces do not mix")
    func interfaces() throws {
        let fixture = try NouveauFixture()
        let modern = fixture.open()
        try modern.vmInit()
        let channel = try modern.channelAlloc()
        #expect(try modern.errno(Request.gemPushbuf, Bytes(64).put(0, channel)) == ENOSYS)
        #expect(try modern.errno(Request.gemPushbuf, Bytes(64).put(0, UInt32(99))) == ENOSYS)
        let old = fixture.open()
        let oldChannel = try old.channelAlloc()
        #expect(try old.exec(oldChannel, []) == ENOSYS)
        #expect(try old.exec(99, []) == ENOSYS)
        #expect(try old.bind([.mapSparse(0x10_0000, 4096)]) == ENOSYS)
        // Neither is chosen yet: there is no VM, and no channel.
        let fresh = fixture.open()
        #expect(try fresh.exec(1, []) == ENOSYS)
        #expect(try fresh.bind([]) == ENOSYS)
        #expect(try fresh.errno(Request.gemPushbuf, Bytes(64)) == ENOENT)
        // Refused calls choose nothing.
        try fresh.vmInit()
        // A GEM_NEW that fails has chosen already.
        let failed = fixture.open()
        #expect(try failed.errno(Request.gemNew, Bytes(48).put(4, UInt32(2))) == EINVAL)
        #expect(
            try failed.errno(Request.vmInit, Bytes(16).put(0, UInt64(1) << 39)) == ENOSYS)
    }

    @Test("Handles and channels of another file are nothing here")
    func strangers() throws {
        let fixture = try NouveauFixture()
        let owner = fixture.open()
        try owner.vmInit()
        // Numbers that the other file does not have by accident.
        let handles = try (0..<8).map { _ in try owner.gemNew(4096, domain: 0x26).handle }
        let channels = try (0..<4).map { _ in try owner.channelAlloc() }
        let objects = try (0..<8).map { _ in try owner.syncobjCreate() }
        let other = fixture.open()
        try other.vmInit()
        let own = try other.channelAlloc()
        let (handle, channel, object) = (handles[7], channels[3], objects[7])
        #expect(try other.bind([.map(handle, at: 0x10_0000, Self.page)]) == ENOENT)
        #expect(try other.errno(Request.gemInfo, Bytes(40).put(0, handle)) == ENOENT)
        #expect(try other.errno(Request.gemCPUPrep, Bytes(8).put(0, handle)) == ENOENT)
        #expect(try other.errno(Request.gemCPUFini, Bytes(4).put(0, handle)) == ENOENT)
        #expect(try other.errno(Request.gemClose, Bytes(8).put(0, handle)) == EINVAL)
        #expect(try other.errno(Request.primeHandleToFD, Bytes(12).put(0, handle)) == ENOENT)
        #expect(try other.exec(channel, []) == ENOENT)
        #expect(try other.errno(Request.channelFree, Bytes(4).put(0, channel)) == ENOENT)
        #expect(try other.exec(own, [], waits: [Sync(handle: object)]) == ENOENT)
        #expect(try other.exec(own, [], signals: [.timeline(object, 1)]) == ENOENT)
        #expect(try other.errno(Request.syncobjDestroy, Bytes(8).put(0, object)) == EINVAL)
        #expect(try other.wait([object]) == ENOENT)
        // All of the owner's is as it was.
        #expect(try owner.exec(channel, [], signals: [Sync(handle: object)]) == 0)
        #expect(try owner.wait([object]) == 0)
        #expect(try owner.bind([.map(handle, at: 0x10_0000, Self.page)]) == 0)
        // A private buffer is never exported, a shared one is.
        #expect(try owner.errno(Request.primeHandleToFD, Bytes(12).put(0, handle)) == EPERM)
    }

    @Test("A freed channel is gone, and its number may come back")
    func freedChannels() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        try file.vmInit()
        let channel = try file.channelAlloc()
        try file.expect(Request.channelFree, Bytes(4).put(0, channel))
        #expect(try file.exec(channel, []) == ENOENT)
        #expect(try file.errno(Request.channelFree, Bytes(4).put(0, channel)) == ENOENT)
        #expect(try file.errno(Request.channelFree, Bytes(4).put(0, UInt32.max)) == ENOENT)
        // The kernel's look-up of a token takes its low 32 bits.
        let classes = Bytes(160).put(1, UInt8(1)).put(7, UInt8(0xff))
            .put(8, UInt64(channel)).put(25, UInt8(16))
        #expect(try file.errno(Request.nvif(160), classes) == EINVAL)
    }

    @Test("EXEC copies its arrays in before it looks at any, and looks at pushes first")
    func execOrder() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        try file.vmInit()
        let channel = try file.channelAlloc()
        let tooLong = Bytes(16).put(8, UInt32(0x80_0000))
        let arguments = Bytes(40).put(0, channel).put(4, UInt32(1))
        let pushes = TestFile.Block(offset: 32, bytes: tooLong)
        #expect(try file.errno(Request.exec, arguments, [pushes]) == EINVAL)
        for counter in [8, 12] {
            #expect(
                try file.errno(Request.exec, arguments.put(counter, UInt32(1)), [pushes])
                    == EFAULT)
        }
        let unknown = TestFile.Block(offset: 16, bytes: Sync(handle: 99).bytes)
        #expect(
            try file.errno(Request.exec, arguments.put(8, UInt32(1)), [pushes, unknown])
                == EINVAL)
        // More pushes than the ring has room for are refused unread.
        #expect(
            try file.errno(Request.exec, Bytes(40).put(0, channel).put(4, UInt32.max))
                == EINVAL)
        // Counts that only a broken program has: the arrays are not there.
        for counter in [8, 12] {
            #expect(
                try file.errno(
                    Request.exec, Bytes(40).put(0, channel).put(counter, UInt32.max)) == EFAULT)
        }
        #expect(try file.exec(channel, []) == 0)
    }

    @Test("VM_BIND: a refused operation leaves no trace of those before it")
    func bindRollback() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        try file.vmInit()
        let vm = try #require(file.file.client.allVMs.first?.vm)
        let buffer = try file.gemNew(1 << 20).handle
        let (base, size) = (UInt64(0x100_0000), UInt64(1 << 20))
        func state() -> [[UInt64]] {
            vm.mappings(from: 0, limit: 100).filter { !$0.flags.contains(.reserved) }
                .map { [$0.address, $0.range, $0.offset] }
                + vm.sparseRegions.map { [$0.lowerBound, $0.upperBound] }
        }
        #expect(try file.bind([.mapSparse(base, size), .map(buffer, at: base, 8192)]) == 0)
        let before = state()
        #expect(before == [[base, 8192, 0], [base, base + size]])
        let harmless: [BindOp] = [
            .map(buffer, at: base + 4096, 4096, offset: 65536), .unmap(base, 4096),
            .mapSparse(base + 4 * size, size), .unmap(0, base),
        ]
        let refused: [(BindOp, Int32)] = [
            (.map(buffer, at: base - 4096, 8192), ENOSPC),
            (.map(buffer, at: base + size - 4096, 8192), ENOSPC),
            (.mapSparse(base, size), ENOSPC), (.mapSparse(base - size, 2 * size), ENOSPC),
            (.unmapSparse(base, size - 4096), ENOENT), (.unmapSparse(base + size, size), ENOENT),
            (.map(9999, at: base, 4096), ENOENT), (.map(buffer, at: 1 << 39, 4096), EINVAL),
            (.unmap(UInt64(1) << 39, UInt64(1) << 39), EINVAL),
        ]
        for (operation, errno) in refused {
            #expect(try file.bind(harmless + [operation]) == errno, "\(operation)")
            #expect(try file.bind([operation] + harmless) == errno, "\(operation)")
            #expect(state() == before, "\(operation)")
        }
        #expect(try file.bind(harmless) == 0)
        #expect(
            state() == [
                [base + 4096, 4096, 65536], [base, base + size],
                [base + 4 * size, base + 5 * size],
            ])
    }

    @Test("An unmap across sparse and plain mappings takes all of them, and is never refused")
    func unmapAcross() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        try file.vmInit()
        let vm = try #require(file.file.client.allVMs.first?.vm)
        let buffer = try file.gemNew(1 << 20).handle
        let base: UInt64 = 1 << 30
        #expect(
            try file.bind([
                .mapSparse(base, 1 << 20), .map(buffer, at: base + 0x8000, 0x8000),
                .map(buffer, at: base + (1 << 20), 0x8000),
                .map(buffer, at: base - 0x8000, 0x8000),
            ]) == 0)
        #expect(try file.bind([.unmap(base - 0x4000, (1 << 20) + 0x8000)]) == 0)
        let left = vm.mappings(from: 0, limit: 100).filter { !$0.flags.contains(.reserved) }
        #expect(left.map(\.address) == [base - 0x8000, base + (1 << 20) + 0x4000])
        #expect(left.map(\.range) == [0x4000, 0x4000])
        #expect(vm.sparseRegions == [base..<base + (1 << 20)])
    }

    @Test("GEM_NEW: domains, sizes and tile flags as TTM and the MMU have them")
    func gemNew() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        try file.vmInit()
        func new(_ size: UInt64, domain: UInt32, flags: UInt32 = 0) throws -> TestFile.Outcome {
            try file.call(
                Request.gemNew, Bytes(48).put(4, domain).put(8, size).put(36, flags))
        }
        // No domain at all is host memory, and unknown bits mean nothing.
        for domain: UInt32 in [0, 1, 4, 0x10, 0x44, 0xffff_ff80] {
            let made = try new(1, domain: domain)
            #expect(made.result == 0 && made.argument.u64(8) == 4096, "\(domain)")
        }
        #expect(try new(0, domain: 2).result == -EINVAL)
        #expect(try new(.max, domain: 2).result == -ENOMEM)
        #expect(try new(.max - 4095, domain: 4).result == -ENOMEM)
        #expect(try new(1 << 63, domain: 0x2e).result == -ENOMEM)
        for kind: UInt32 in 0..<256 {
            // The kinds of nvkm/subdev/mmu/tu102.c.
            let expected = kind < 16 && kind != 7 ? 0 : -EINVAL
            #expect(try new(4096, domain: 4, flags: kind << 8).result == expected, "\(kind)")
        }
        // Bits that are no kind's are not looked at.
        let odd = try new(4096, domain: 4, flags: 0xffff_00ff)
        #expect(odd.result == 0 && odd.argument.u32(36) == 8)
    }

    @Test("GETPARAM answers what it knows, and EINVAL")
    func parameters() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        let known: Set<UInt64> = [3, 4, 5, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]
        for parameter in UInt64(0)...64 {
            let errno = try file.errno(Request.getParam, Bytes(16).put(0, parameter))
            #expect(errno == (known.contains(parameter) ? 0 : EINVAL), "\(parameter)")
        }
        let untouched = try file.call(
            Request.getParam, Bytes(16).put(0, UInt64.max).put(8, UInt64(0xabcd)))
        #expect(untouched.result == -EINVAL && untouched.argument.u64(8) == 0xabcd)
    }

    @Test("NVIF: what is malformed is EINVAL, and nothing is made")
    func nvif() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        try file.vmInit()
        let channel = try file.channelAlloc()
        let good = Bytes(56).put(1, UInt8(2)).put(7, UInt8(0xff)).put(8, UInt64(channel))
            .put(40, UInt64(0x77)).put(52, Int32(0xc5b5))
        let malformed: [(Bytes, Int)] = [
            (good.put(0, UInt8(1)), 56), (good.put(1, UInt8(0)), 56), (good.put(1, UInt8(5)), 56),
            (good.put(7, UInt8(1)), 56), (good.put(8, UInt64(99)), 56),
            (good.put(24, UInt8(1)), 56), (good.put(52, Int32(0x1234)), 56),
            (Bytes(Array(good.bytes[..<55])), 55), (Bytes(Array(good.bytes[..<23])), 23),
            (Bytes(24).put(1, UInt8(4)), 24), (Bytes(32).put(1, UInt8(4)), 32),
            (Bytes(25).put(1, UInt8(3)), 25), (Bytes(24).put(1, UInt8(3)).put(7, UInt8(255)), 24),
        ]
        for (index, (bytes, count)) in malformed.enumerated() {
            #expect(try file.errno(Request.nvif(count), bytes) == EINVAL, "\(index)")
        }
        #expect(try file.errno(Request.nvif(56), good) == 0, "none of them took the name")
        #expect(try file.errno(Request.nvif(56), good) == EEXIST)
        let delete = Bytes(24).put(1, UInt8(3)).put(16, UInt64(0x77))
        #expect(try file.errno(Request.nvif(24), delete) == 0)
        #expect(try file.errno(Request.nvif(24), delete) == 0, "of nothing, too")
        #expect(try file.errno(Request.nvif(56), good) == 0)
    }

    @Test("CHANNEL_ALLOC: engines, and the old context handles")
    func channels() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        try file.vmInit()
        let alloc = Bytes(88)
        for engine: UInt32 in [1, 0x30] {
            let made = try file.expect(
                Request.channelAlloc, alloc.put(0, UInt32.max).put(4, engine)
            ).argument
            #expect(made.u32(0) == 0 && made.u32(4) == 0 && made.u32(12) == 6)
            #expect(made.u32(84) == 0, "no subchannel is bound")
            let notifier = try file.expect(
                Request.gemInfo, Bytes(40).put(0, made.u32(16))
            ).argument
            #expect(notifier.u32(4) == 4 && notifier.u64(8) == 4096)
        }
        // With other handles they are only kept.
        for (first, second): (UInt32, UInt32) in [(0, 0), (0xbeef_0201, 0xbeef_0202)] {
            let made = try file.expect(
                Request.channelAlloc, alloc.put(0, first).put(4, second)
            ).argument
            #expect(made.u32(0) == first && made.u32(4) == second)
        }
        for engine: UInt32 in [2, 4, 8] {
            #expect(
                try file.errno(
                    Request.channelAlloc, alloc.put(0, UInt32.max).put(4, engine)) == EINVAL)
        }
        for engine: UInt32 in [0, 3, 5, 0x10, 0x31, UInt32.max] {
            #expect(
                try file.errno(
                    Request.channelAlloc, alloc.put(0, UInt32.max).put(4, engine)) == ENOSYS)
        }
        #expect(
            try file.errno(Request.channelAlloc, alloc.put(4, UInt32.max)) == EINVAL)
    }
}
