import Device
import Glibc
import Testing

@Suite("nouveau: what a client asks first")
struct QueryTests {
    @Test("VERSION tells lengths first, then fills the buffers")
    func version() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        let lengths = try file.expect(Request.version, Bytes(64)).argument
        #expect(lengths.u32(0) == 1 && lengths.u32(4) == 4 && lengths.u32(8) == 1)
        #expect(lengths.u64(16) == 7)
        let filled = try file.expect(
            Request.version,
            Bytes(64).put(16, lengths.u64(16)).put(32, lengths.u64(32))
                .put(48, lengths.u64(48)),
            [
                .init(offset: 24, bytes: Bytes(7), isOutput: true),
                .init(offset: 40, bytes: Bytes(Int(lengths.u64(32))), isOutput: true),
                .init(offset: 56, bytes: Bytes(Int(lengths.u64(48))), isOutput: true),
            ])
        #expect(filled.outputs[0].text(0, 7) == "nouveau")
        let short = try file.expect(
            Request.version, Bytes(64).put(16, UInt64(3)),
            [.init(offset: 24, bytes: Bytes(3), isOutput: true)])
        #expect(short.outputs[0].text(0, 3) == "nou")
        #expect(short.argument.u64(16) == 7)
    }

    @Test("GET_CAP: sync objects, timelines, PRIME, and no mode setting")
    func capabilities() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        for (capability, value) in [(0x5, 3), (0x6, 1), (0x13, 1), (0x14, 1)] as [(UInt64, UInt64)]
        {
            let got = try file.expect(Request.getCap, Bytes(16).put(0, capability)).argument
            #expect(got.u64(8) == value)
        }
        for capability in [0x1, 0x12, 0x99] as [UInt64] {
            let errno = try file.errno(Request.getCap, Bytes(16).put(0, capability))
            #expect(errno == EOPNOTSUPP)
        }
        #expect(try file.errno(Request.setClientCap, Bytes(16)) == EACCES)
        let primary = TestFile(fixture.shared, isRenderNode: false)
        #expect(try primary.errno(Request.setClientCap, Bytes(16)) == EOPNOTSUPP)
    }

    @Test("GETPARAM answers what TU104 is")
    func parameters() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        func get(_ parameter: UInt64) throws -> UInt64 {
            try file.expect(Request.getParam, Bytes(16).put(0, parameter)).argument.u64(8)
        }
        #expect(try get(3) == 0x10de)
        #expect(try get(4) == 0x1e82)
        #expect(try get(5) == 2)
        #expect(try get(8) == 64 << 20)
        #expect(try get(9) == 64 << 20)
        #expect(try get(11) == 0x164)
        #expect(try get(13) == 6 | 23 << 8)
        #expect(try get(17) == 510)
        #expect(try get(18) == 64 << 20)
        #expect(try get(19) != 0)
        #expect(try get(20) == 1)
        let first = try get(14)
        #expect(try get(14) >= first)
        for unknown in [0, 6, 21, UInt64.max] {
            #expect(try file.errno(Request.getParam, Bytes(16).put(0, unknown)) == EINVAL)
        }
    }

    @Test("A request that nobody serves answers as drm_ioctl does")
    func unknown() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        let expected: [(UInt32, Int32)] = [
            (0x5401, ENOTTY), (0xc010_6540, ENOTTY), (0xc010_6460, EINVAL),
            (0xc010_6495, EINVAL), (0xc010_6403, EINVAL), (0xc010_64ff, EINVAL),
            (0xc010_6401, EACCES), (0x641e, EACCES), (0xc010_64a0, EACCES),
            (Request.zcullInfo, ENOTTY), (Request.gemPushbuf, ENOENT),
            (0xc010_6448, ENOSYS), (0xc028_6449, ENOSYS),
        ]
        for (request, errno) in expected {
            let size = Int(request >> 16 & 0x3fff)
            #expect(try file.errno(request, Bytes(size)) == errno, "0x\(request)")
        }
        #expect(fixture.shared.statistics.current.unknown.count == 9)
    }

    @Test("NVIF: INFO, classes, objects, and what it refuses")
    func nvif() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        let device = Bytes(72).put(1, UInt8(2)).put(40, UInt64(0x77)).put(52, Int32(0x80))
        try file.expect(Request.nvif(72), device)
        #expect(try file.errno(Request.nvif(72), device) == EEXIST)
        let method = Bytes(136).put(1, UInt8(4)).put(16, UInt64(0x77))
        let info = try file.expect(Request.nvif(136), method).argument
        #expect(info.bytes[33] == 3 && info.bytes[36] == 0xa1 && info.bytes[37] == 0x0c)
        #expect(info.u32(34) & 0xffff == 0x164)
        #expect(info.u64(40) == 64 << 20 && info.u64(48) == 64 << 20)
        #expect(info.text(56, 16) == "TU104")
        #expect(info.text(72, 64) == "NVIDIA GeForce RTX 2080")
        // A missing object, another method, another size: EINVAL and nothing written.
        let wrong = try file.call(Request.nvif(136), method.put(16, UInt64(1)))
        #expect(wrong.result == -EINVAL && wrong.argument.bytes[33] == 0)
        #expect(try file.errno(Request.nvif(136), method.put(25, UInt8(1))) == EINVAL)
        #expect(try file.errno(Request.nvif(128), Bytes(128).put(1, UInt8(4))) == EINVAL)
        #expect(try file.errno(Request.nvif(16), Bytes(16)) == EINVAL)
        #expect(try file.errno(Request.nvif(24), Bytes(24).put(1, UInt8(9))) == EINVAL)

        try file.vmInit()
        let channel = try file.channelAlloc()
        let list = Bytes(160).put(1, UInt8(1)).put(7, UInt8(0xff)).put(8, UInt64(channel))
            .put(25, UInt8(16))
        let classes = try file.expect(Request.nvif(160), list).argument
        #expect(classes.bytes[25] == 5)
        let listed = (0..<5).map { classes.u32(32 + 8 * $0) }
        #expect(listed == [0x902d, 0xa140, 0xc597, 0xc5c0, 0xc5b5])
        #expect(try file.errno(Request.nvif(160), list.put(8, UInt64(99))) == EINVAL)
        #expect(try file.errno(Request.nvif(160), list.put(25, UInt8(15))) == EINVAL)
        for (index, number) in listed.enumerated() {
            let object = Bytes(56).put(1, UInt8(2)).put(7, UInt8(0xff))
                .put(8, UInt64(channel)).put(40, UInt64(0x100 + index)).put(52, number)
            try file.expect(Request.nvif(56), object)
            #expect(
                try file.errno(
                    Request.nvif(56), object.put(40, UInt64(0x200)).put(52, UInt32(0xc397)))
                    == EINVAL)
        }
        for index in 0..<5 {
            let object = Bytes(24).put(1, UInt8(3)).put(16, UInt64(0x100 + index))
            try file.expect(Request.nvif(24), object)
            try file.expect(Request.nvif(24), object)
        }
        let transfer = try file.channelAlloc(copyEngine: true)
        let alone = try file.expect(
            Request.nvif(160), list.put(8, UInt64(transfer))
        ).argument
        #expect(alone.bytes[25] == 1 && alone.u32(32) == 0xc5b5)
    }

    @Test("The order in which NVK probes a file")
    func probe() throws {
        let fixture = try NouveauFixture()
        // The physical device's file, then the device's own.
        for _ in 0..<2 {
            let file = fixture.open()
            try file.vmInit()
            try file.expect(
                Request.nvif(72),
                Bytes(72).put(1, UInt8(2)).put(40, UInt64(1)).put(52, Int32(0x80)))
            try file.expect(Request.getParam, Bytes(16).put(0, UInt64(4)))
            try file.expect(
                Request.nvif(136), Bytes(136).put(1, UInt8(4)).put(16, UInt64(1)))
            #expect(try file.errno(Request.zcullInfo, Bytes(48)) == ENOTTY)
            for parameter in [17, 18, 13] as [UInt64] {
                try file.expect(Request.getParam, Bytes(16).put(0, parameter))
            }
            let alloc = try file.expect(Request.channelAlloc, Bytes(88)).argument
            #expect(alloc.u32(12) == 6 && alloc.u32(16) != 0)
            let channel = alloc.u32(8)
            try file.expect(
                Request.nvif(160),
                Bytes(160).put(1, UInt8(1)).put(7, UInt8(0xff)).put(8, UInt64(channel))
                    .put(25, UInt8(16)))
            let classes: [Int32] = [0xc5b5, 0x902d, 0xc597, 0xa140, 0xc5c0]
            for (index, number) in classes.enumerated() {
                try file.expect(
                    Request.nvif(56),
                    Bytes(56).put(1, UInt8(2)).put(7, UInt8(0xff)).put(8, UInt64(channel))
                        .put(40, UInt64(16 + index)).put(52, number))
            }
            for index in 0..<5 {
                try file.expect(
                    Request.nvif(24), Bytes(24).put(1, UInt8(3)).put(16, UInt64(16 + index)))
            }
            try file.expect(Request.channelFree, Bytes(4).put(0, channel))
            for parameter in [19, 20] as [UInt64] {
                try file.expect(Request.getParam, Bytes(16).put(0, parameter))
            }
            let syncobj = try file.syncobjCreate(signalled: true)
            #expect(try file.wait([syncobj], timeout: 0) == 0)
            try file.expect(Request.getCap, Bytes(16).put(0, UInt64(0x14)))
            try file.expect(Request.syncobjDestroy, Bytes(8).put(0, syncobj))
        }
    }

    @Test("An argument shorter than the kernel's struct is extended by zeros")
    func shortArguments() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        // 24 bytes of wait without `deadline` and `pad`, as old clients send it.
        let request: UInt32 = 0xc018_64c3
        let syncobj = try file.syncobjCreate(signalled: true)
        let errno = try file.errno(
            request, Bytes(24).put(8, Int64(0)).put(16, UInt32(1)).put(20, UInt32(1)),
            [file.handles([syncobj])])
        #expect(errno == 0)
        // A size of 0 is a zero argument: create gives a handle that the client cannot see.
        let created = try file.call(0x64bf, Bytes(0))
        #expect(created.result == 0 && created.argument.bytes.isEmpty)
    }
}
