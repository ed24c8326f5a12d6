import Device
import Glibc
import Testing

@Suite("nouveau: GEM and PRIME")
struct BufferTests {
    @Test("GEM_NEW returns what GEM_INFO returns")
    func info() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        try file.vmInit()
        // A size that is no multiple of pages, a tile mode, a PTE kind.
        let made = try file.expect(
            Request.gemNew,
            Bytes(48).put(4, UInt32(0x0e)).put(8, UInt64(5000)).put(32, UInt32(0x44))
                .put(36, UInt32(0x0608)).put(44, UInt32(0x10000))
        ).argument
        #expect(made.u32(0) != 0)
        #expect(made.u32(4) == 2, "VRAM, where it is")
        #expect(made.u64(8) == 8192)
        #expect(made.u64(16) == 0)
        #expect(made.u64(24) >= 1 << 32 && made.u64(24) % 4096 == 0)
        #expect(made.u32(32) == 0x44 && made.u32(36) == 0x0608)
        let info = try file.expect(Request.gemInfo, Bytes(40).put(0, made.u32(0))).argument
        #expect(info.bytes == Array(made.bytes[0..<40]))
        #expect(try file.errno(Request.gemInfo, Bytes(40).put(0, UInt32(999))) == ENOENT)
        let host = try file.expect(
            Request.gemNew, Bytes(48).put(4, UInt32(0x0c)).put(8, UInt64(4096))
        ).argument
        #expect(host.u32(4) == 4)
        #expect(host.u64(24) >= made.u64(24) + 8192, "fake offsets do not overlap")
    }

    @Test("What GEM_NEW refuses")
    func refusals() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        func new(_ size: UInt64, _ domain: UInt32, _ tileFlags: UInt32 = 0) throws -> Int32 {
            try file.errno(
                Request.gemNew, Bytes(48).put(4, domain).put(8, size).put(36, tileFlags))
        }
        #expect(try new(0, 2) == EINVAL)
        #expect(try new(4096, 2, 0x0700) == EINVAL)
        #expect(try new(4096, 2, 0x1000) == EINVAL)
        #expect(try new(4096, 0x26) == EINVAL, "never shared, but no VM")
        #expect(try new(1 << 40, 2) == ENOMEM)
        #expect(try new(128 << 20, 4) == ENOMEM)
        #expect(try new(4096, 2, 0x0600) == 0)
    }

    @Test("A full VRAM leads to GART where the domains allow it")
    func fallback() throws {
        let fixture = try NouveauFixture { $0.vramBytes = 1 << 20 }
        let file = fixture.open()
        try file.vmInit()
        let large = try file.expect(
            Request.gemNew, Bytes(48).put(4, UInt32(6)).put(8, UInt64(4 << 20))
        ).argument
        #expect(large.u32(4) == 4)
        let errno = try file.errno(
            Request.gemNew, Bytes(48).put(4, UInt32(2)).put(8, UInt64(4 << 20)))
        #expect(errno == ENOMEM)
    }

    @Test("VM_INIT comes before buffers and channels, once, and in 2^40")
    func vmInit() throws {
        let fixture = try NouveauFixture()
        func initialise(_ file: TestFile, _ address: UInt64, _ size: UInt64) throws -> Int32 {
            try file.errno(Request.vmInit, Bytes(16).put(0, address).put(8, size))
        }
        let old = fixture.open()
        _ = try old.gemNew(4096, domain: 4)
        #expect(try initialise(old, 1 << 39, 1 << 39) == ENOSYS)
        let older = fixture.open()
        let channel = try older.channelAlloc()
        #expect(try initialise(older, 1 << 39, 1 << 39) == ENOSYS)
        #expect(try older.exec(channel, []) == ENOSYS)
        #expect(try older.bind([]) == ENOSYS)
        let file = fixture.open()
        #expect(try initialise(file, UInt64.max, 2) == EINVAL)
        #expect(try initialise(file, 1 << 40, 4096) == EINVAL)
        #expect(try initialise(file, 1 << 39, 1 << 39) == 0)
        #expect(try initialise(file, 1 << 39, 1 << 39) == EBUSY)
    }

    @Test("GEM_CLOSE: the handle goes, the memory stays mapped")
    func close() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        try file.vmInit()
        let buffer = try file.gemNew(8192)
        #expect(try file.bind([.map(buffer.handle, at: 0x10000, 8192)]) == 0)
        try file.expect(Request.gemClose, Bytes(8).put(0, buffer.handle))
        #expect(try file.errno(Request.gemClose, Bytes(8).put(0, buffer.handle)) == EINVAL)
        #expect(throws: IoctlError.self) {
            try file.file.map(offset: buffer.mapHandle, length: 4096)
        }
        #expect(fixture.device.status().systemUsed == 8192)
        #expect(try file.bind([.unmap(0x10000, 8192)]) == 0)
        for _ in 0..<10_000 where fixture.device.status().systemUsed != 0 { sched_yield() }
        #expect(fixture.device.status().systemUsed == 0)
    }

    @Test("mmap takes a map handle, a page in it, and no more than there is")
    func mmap() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        let first = try file.gemNew(8192, domain: 4)
        let second = try file.gemNew(4096, domain: 4)
        let whole = try file.memory(first.mapHandle, 8192)
        whole.bytes[4096] = 0x5a
        let page = try file.memory(first.mapHandle + 4096, 4096)
        #expect(page.bytes[0] == 0x5a)
        let wrong: [(UInt64, UInt64)] = [
            (first.mapHandle, 8193), (first.mapHandle + 4096, 4097), (0, 4096),
            (first.mapHandle + 1, 4096), (first.mapHandle, 0), (first.mapHandle, .max),
            (second.mapHandle + 4096, 4096), (.max - 4095, 4096),
        ]
        for (offset, length) in wrong {
            let error = #expect(throws: IoctlError.self) {
                try file.file.map(offset: offset, length: length)
            }
            #expect(error?.errno == EINVAL, "0x\(offset)+0x\(length)")
        }
    }

    @Test("PRIME: one buffer in two files, and the same handle again in the first")
    func prime() throws {
        let fixture = try NouveauFixture()
        let (one, two) = (fixture.open(), fixture.open())
        try one.vmInit()
        let made = try one.expect(
            Request.gemNew,
            Bytes(48).put(4, UInt32(0x0e)).put(8, UInt64(8192)).put(32, UInt32(3))
                .put(36, UInt32(0x0600))
        ).argument
        let export = Bytes(12).put(0, made.u32(0)).put(4, UInt32(O_CLOEXEC | O_RDWR))
        let exported = try one.expect(Request.primeHandleToFD, export)
        let fd = try #require(exported.descriptor?.rawValue)
        let again = try one.expect(Request.primeFDToHandle, Bytes(12), fds: [fd])
        #expect(again.argument.u32(0) == made.u32(0))
        let imported = try two.expect(Request.primeFDToHandle, Bytes(12), fds: [fd])
        let info = try two.expect(
            Request.gemInfo, Bytes(40).put(0, imported.argument.u32(0))
        ).argument
        #expect(info.u64(8) == 8192 && info.u32(32) == 3 && info.u32(36) == 0x0600)
        let here = try one.memory(made.u64(24), 8192)
        here.bytes[5000] = 0x77
        #expect(try two.memory(info.u64(24), 8192).bytes[5000] == 0x77)

        #expect(try one.errno(Request.primeHandleToFD, Bytes(12).put(0, UInt32(99))) == ENOENT)
        #expect(
            try one.errno(Request.primeHandleToFD, export.put(4, UInt32(0x8000_0000))) == EINVAL)
        #expect(try one.errno(Request.primeFDToHandle, Bytes(12)) == EBADF)
        let null = open("/dev/null", O_RDONLY | O_CLOEXEC)
        defer { Glibc.close(null) }
        #expect(try one.errno(Request.primeFDToHandle, Bytes(12), fds: [null]) == EINVAL)
        let local = try one.gemNew(4096)
        #expect(
            try one.errno(Request.primeHandleToFD, Bytes(12).put(0, local.handle)) == EPERM)
    }

    @Test("CPU_PREP of an idle buffer returns at once; of none it is ENOENT")
    func cpuPrep() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        let buffer = try file.gemNew(4096, domain: 4)
        #expect(try file.errno(Request.gemCPUPrep, Bytes(8).put(0, buffer.handle)) == 0)
        #expect(try file.errno(Request.gemCPUPrep, Bytes(8).put(0, UInt32(77))) == ENOENT)
        #expect(try file.errno(0x4004_6483, Bytes(4).put(0, UInt32(77))) == ENOENT)
    }
}
