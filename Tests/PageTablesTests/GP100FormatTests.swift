import PageTables
import TestSupport
import Testing

/// Every number is computed by hand from NVIDIA's dev_mmu.h for GP100 (`NV_MMU_VER2_PDE`,
/// `NV_MMU_VER2_DUAL_PDE`, `NV_MMU_VER2_PTE`) and, for sizes and index bits, from the page "Page Level
/// Sizes and Coverage" of open-gpu-doc's "Pascal MMU Format Changes".
@Suite("GP100 format")
struct GP100FormatTests {
    @Test("each field of a PTE is at its place and nowhere else")
    func pteFields() {
        func entry(_ change: (inout GP100PTE) -> Void) -> UInt64 {
            var entry = GP100PTE(rawValue: 0)
            change(&entry)
            return entry.rawValue
        }
        #expect(entry { $0.isValid = true } == 1 << 0, "VALID 0:0")
        #expect(entry { $0.aperture = .systemNonCoherentMemory } == 3 << 1, "APERTURE 2:1")
        #expect(entry { $0.isVolatile = true } == 1 << 3, "VOL 3:3")
        #expect(entry { $0.isEncrypted = true } == 1 << 4, "ENCRYPTED 4:4")
        #expect(entry { $0.isPrivileged = true } == 1 << 5, "PRIVILEGE 5:5")
        #expect(entry { $0.isReadOnly = true } == 1 << 6, "READ_ONLY 6:6")
        #expect(entry { $0.isAtomicDisabled = true } == 1 << 7, "ATOMIC_DISABLE 7:7")
        #expect(entry { $0.videoFrame = .max } == 0x1_ffff_ff00, "ADDRESS_VID 32:8")
        #expect(entry { $0.peer = .max } == 0xe_0000_0000, "ADDRESS_VID_PEER 35:33")
        #expect(entry { $0.compressionTagLine = .max } == 0x3f_fff0_0000_0000, "COMPTAGLINE 53:36")
        #expect(entry { $0.systemFrame = .max } == 0x3f_ffff_ffff_ff00, "ADDRESS_SYS 53:8")
        #expect(entry { $0.kind = .max } == 0xff00_0000_0000_0000, "KIND 63:56")
    }

    @Test("a PTE's fields are read as they were written", arguments: 1...3 as ClosedRange<UInt64>)
    func pteRoundTrip(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        for _ in 0..<200 {
            var entry = GP100PTE(rawValue: random.next())
            let isValid = random.chance(50)
            let aperture = GP100PTE.Aperture(rawValue: UInt8(random.below(4))) ?? .videoMemory
            let (vol, secret, priv) = (random.chance(50), random.chance(50), random.chance(50))
            let (readOnly, atomic) = (random.chance(50), random.chance(50))
            let (frame, peer, tag) = (random.below(1 << 25), random.below(8), random.below(1 << 18))
            let kind = UInt8(random.below(256))
            let reserved = entry.rawValue & 3 << 54
            entry.isValid = isValid
            entry.aperture = aperture
            entry.isVolatile = vol
            entry.isEncrypted = secret
            entry.isPrivileged = priv
            entry.isReadOnly = readOnly
            entry.isAtomicDisabled = atomic
            entry.videoFrame = frame
            entry.peer = peer
            entry.compressionTagLine = tag
            entry.kind = kind
            let read = GP100PTE(rawValue: entry.rawValue)
            #expect(read.isValid == isValid && read.aperture == aperture, "seed \(seed)")
            #expect(read.isVolatile == vol && read.isEncrypted == secret, "seed \(seed)")
            #expect(read.isPrivileged == priv && read.isReadOnly == readOnly, "seed \(seed)")
            #expect(read.isAtomicDisabled == atomic && read.kind == kind, "seed \(seed)")
            #expect(read.videoFrame == frame && read.peer == peer, "seed \(seed)")
            #expect(read.compressionTagLine == tag, "seed \(seed)")
            #expect(read.systemFrame == frame | peer << 25 | tag << 28, "overlap, seed \(seed)")
            #expect(read.rawValue & 3 << 54 == reserved, "bits 55:54 stay, seed \(seed)")
            #expect(read.isSparse == (!isValid && vol), "seed \(seed)")
            #expect(read.hidesSmallEntries == (!isValid && !vol && priv), "seed \(seed)")
        }
    }

    @Test("a PDE's three forms")
    func pdeForms() {
        var single = GP100PDE(rawValue: 0, form: .single)
        single.aperture = .videoMemory
        single.address = 0x1f_ffff_f000
        #expect(single.rawValue == 0x1_ffff_ff02, "ADDRESS_VID 32:8, APERTURE 2:1")
        single.aperture = .systemCoherentMemory
        single.address = 0x3ff_ffff_ffff_f000
        single.isVolatile = true
        #expect(single.rawValue == 0x3f_ffff_ffff_ff0c, "ADDRESS_SYS 53:8, VOL 3:3")
        #expect(single.address == 0x3ff_ffff_ffff_f000)

        var big = GP100PDE(rawValue: 0, form: .big)
        big.aperture = .videoMemory
        big.address = 0x1f_ffff_ff00
        #expect(big.rawValue == 0x1_ffff_fff2, "ADDRESS_BIG_VID 32:4, in units of 256 bytes")
        #expect(big.address == 0x1f_ffff_ff00)
        big = GP100PDE(rawValue: 0, form: .big)
        big.aperture = .systemNonCoherentMemory
        big.address = 0x1_2345_6700
        #expect(big.rawValue == 0x1234_5676, "ADDRESS_BIG_SYS 53:4")

        var small = GP100PDE(rawValue: 0, form: .small)
        small.aperture = .videoMemory
        small.address = 0x12_3456_7000
        #expect(small.rawValue == 0x1_2345_6702, "ADDRESS_SMALL_VID 96:72, bit 64 being bit 0")

        #expect(GP100PDE(rawValue: 0x8, form: .single).isSparse)
        #expect(GP100PDE(rawValue: 0x8, form: .big).isSparse)
        #expect(!GP100PDE(rawValue: 0x8, form: .small).isSparse)
        #expect(!GP100PDE(rawValue: 0xa, form: .big).isSparse)
        #expect(!GP100PDE(rawValue: 0, form: .big).isSparse)
        #expect(GP100PDE(rawValue: 0x1, form: .big).isPTE)
    }

    @Test("a table decodes by hand from its bytes, in video memory")
    func rawDump() throws {
        let memory = FakeMemory(base: 0x7_0000_0000, bytes: 64 * kiB)
        let pool = try TablePool(memory: memory, base: memory.base + 0x4000, pageCount: 12)
        // Video memory begins at 24 GiB: the pool is 4 GiB and 16 KiB into it.
        let table = try GP100PageTable(pool: pool, vramBase: 0x6_0000_0000)
        var reservation = try pool.reserve(11)
        var retired = RetiredTables()
        // PDE3 index 1 (48:47), PDE2 2 (46:38), PDE1 3 (37:29), PDE0 4 (28:21), page 5 (20:12).
        let span: UInt64 = 1 << 47 + 2 << 38 + 3 << 29 + 4 << 21
        table.map(
            span + 5 << 12, extents: [PhysicalExtent(address: 0x6_0abc_d000, bytes: 4096)],
            flags: .readOnly, kind: 0xdb, using: &reservation, retiring: &retired)
        table.mapNull(span + 6 << 12, range: 4096, using: &reservation, retiring: &retired)
        table.map(
            span + 7 << 12, extents: [PhysicalExtent(address: 0x1234_5000, bytes: 4096)],
            using: &reservation, retiring: &retired)
        // Big page 3 (20:16), with the next one sparse.
        table.map(
            span + 3 << 16, extents: [PhysicalExtent(address: 0x6_0777_0000, bytes: 64 * kiB)],
            kind: 0x06, using: &reservation, retiring: &retired)
        table.mapNull(span + 4 << 16, range: 64 * kiB, using: &reservation, retiring: &retired)
        // PDE0 5 and 6: 2 MiB.
        table.map(
            span + 2 * miB, extents: [PhysicalExtent(address: 0x6_4020_0000, bytes: 2 * miB)],
            kind: 0xfe, using: &reservation, retiring: &retired)
        table.mapNull(span + 4 * miB, range: 2 * miB, using: &reservation, retiring: &retired)
        let retiredCount = retired.count
        #expect(retiredCount == 0)

        // An address in an entry is (physical - 0x6_0000_0000) >> 12 << 8, that is >> 4.
        func tableOf(_ entry: UInt64) -> PhysicalAddress { 0x6_0000_0000 + (entry & ~0xff) << 4 }
        #expect(table.rootAddress == 0x7_0000_4000)
        let pde3 = memory.word(0x7_0000_4000 + 1 * 8)
        #expect(pde3 & 0xff == 0x02, "APERTURE=VIDEO_MEMORY")
        let pde2 = memory.word(tableOf(pde3) + 2 * 8)
        #expect(pde2 & 0xff == 0x02)
        let pde1 = memory.word(tableOf(pde2) + 3 * 8)
        #expect(pde1 & 0xff == 0x02)
        let directory0 = tableOf(pde1)
        let big = memory.word(directory0 + 4 * 16)
        let small = memory.word(directory0 + 4 * 16 + 8)
        #expect(big & 0xff == 0x02 && small & 0xff == 0x02)
        #expect(memory.word(directory0 + 5 * 16) == 0xfe00_0000_0402_0001, "VALID, KIND")
        #expect(memory.word(directory0 + 5 * 16 + 8) == 0)
        #expect(memory.word(directory0 + 6 * 16) == 0x8, "sparse: VOL_BIG")
        #expect(memory.word(directory0 + 6 * 16 + 8) == 0)

        let pages = tableOf(small)
        #expect(memory.word(pages + 5 * 8) == 0xdb00_0000_00ab_cd41, "VALID, READ_ONLY")
        #expect(memory.word(pages + 6 * 8) == 0x8, "sparse: VOL")
        #expect(memory.word(pages + 7 * 8) == 0x0123_450d, "VALID, SYSTEM_COHERENT_MEMORY, VOL")
        #expect(memory.word(pages + 8 * 8) == 0)
        let bigPages = tableOf(big)
        #expect(memory.word(bigPages + 3 * 8) == 0x0600_0000_0077_7001)
        #expect(memory.word(bigPages + 4 * 8) == 0x8)
        #expect(memory.word(bigPages + 5 * 8) == 0 && memory.word(bigPages) == 0)

        let tables: Set = [
            table.rootAddress, tableOf(pde3), tableOf(pde2), directory0, pages, bigPages,
        ]
        #expect(tables.count == 6)
        #expect(tables.allSatisfy { (0x7_0000_4000..<0x7_0001_0000).contains($0) })
        let audit = table.audit()
        #expect(audit.isSound && audit.tables == 6 && audit.neededReserve == 2)

        let walk = table.walk(span + 0x5123)
        #expect(walk.steps.map(\.level) == [4, 3, 2, 1, 0])
        #expect(walk.steps.map(\.index) == [1, 2, 3, 4, 5])
        #expect(walk.steps.map(\.entry) == [pde3, pde2, pde1, small, 0xdb00_0000_00ab_cd41])
        #expect(walk.steps.last?.table == pages && walk.physical == 0x6_0abc_d123)
        let bigWalk = table.walk(span + 0x3_4567)
        #expect(bigWalk.steps.map(\.index) == [1, 2, 3, 4, 3])
        #expect(bigWalk.steps.map(\.entry).suffix(2) == [big, 0x0600_0000_0077_7001])
        #expect(bigWalk.physical == 0x6_0777_4567)
        let large = table.walk(span + 2 * miB + 0x12_3456)
        #expect(large.steps.map(\.level) == [4, 3, 2, 1] && large.physical == 0x6_4032_3456)
        let missing = table.walk(span + 6 * miB)
        #expect(missing.result == .fault(.notMapped(level: 1)) && missing.stepCount == 4)
        #expect(table.walk(1 << 49).result == .fault(.outOfRange))
        _ = consume reservation
        table.destroy()
        #expect(pool.allocated == 0 && pool.reserved == 0)
    }

    @Test("tables in host memory are coherent and volatile, video memory is relative to its base")
    func apertures() throws {
        let fixture = try GP100Fixture(pages: 64, vramBase: 1 << 44)
        try fixture.map(0, to: 1 << 44, bytes: 4096)
        try fixture.map(4096, to: 3 * giB, bytes: 4096, .readOnly)
        let way = fixture.table.decode(0)
        #expect(way.map(\.level) == [4, 3, 2, 1, 1, 0])
        // The root is at 4 GiB, the next tables follow it: 0x1_0000_1000 >> 4 | 2 << 1 | VOL.
        #expect(way.map(\.rawValue) == [0x1000_010c, 0x1000_020c, 0x1000_030c, 0, 0x1000_040c, 1])
        #expect(fixture.table.decode(4096).last?.rawValue == 0xc00_004d)
        #expect(fixture.leaves.map(\.physical) == [1 << 44, 3 * giB])
        #expect(fixture.leaves.map(\.flags) == [[], .readOnly])
    }

    @Test("a pool and memory out of an entry's reach are refused")
    func reach() throws {
        // Video memory has 2^37 bytes, host memory addresses below 2^47; half of this pool is beyond.
        for (base, vramBase) in [
            (1 << 37 - 0x8000, 0), (1 << 47 - 0x8000, 1 << 48), (4 * giB - 0x8000, 4 * giB),
        ] as [(PhysicalAddress, PhysicalAddress)] {
            let memory = FakeMemory(base: base, bytes: 64 * kiB)
            let pool = try TablePool(memory: memory, base: base, pageCount: 16)
            #expect(throws: PageTableError.poolOutOfReach(base: base, pageCount: 16)) {
                _ = try GP100PageTable(pool: pool, vramBase: vramBase)
            }
            let half = try TablePool(memory: memory, base: base, pageCount: 8)
            let table = try GP100PageTable(pool: half, vramBase: vramBase)
            #expect(table.rootAddress == base)
        }
        let error = PageTableError.poolOutOfReach(base: 0, pageCount: 1)
        #expect(error.errno == 22 && "\(error)".contains("cannot name"))
    }

    @Test("a dump names fields as NVIDIA does")
    func names() throws {
        let fixture = try GP100Fixture(pages: 64)
        try fixture.map(0, to: 4 * giB + 0x1_0000, bytes: 64 * kiB, kind: 0x06)
        try fixture.map(64 * kiB, to: 0x5000, bytes: 4096, .readOnly)
        try fixture.mapNull(2 * miB, bytes: 2 * miB)
        try fixture.map(4 * miB, to: 8 * giB, bytes: 2 * miB)
        var lines: [String] = []
        fixture.table.forEachEntry { lines.append("\($0)") }
        #expect(
            lines == [
                "PDE3[0] @0x100000000 = 0x102: APERTURE=VIDEO_MEMORY ADDRESS_VID=0x1 (0x1000)",
                "PDE2[0] @0x100001000 = 0x202: APERTURE=VIDEO_MEMORY ADDRESS_VID=0x2 (0x2000)",
                "PDE1[0] @0x100002000 = 0x302: APERTURE=VIDEO_MEMORY ADDRESS_VID=0x3 (0x3000)",
                "PDE0.BIG[0] @0x100003000 = 0x402: APERTURE_BIG=VIDEO_MEMORY "
                    + "ADDRESS_BIG_VID=0x40 (0x4000)",
                "PDE0.SMALL[0] @0x100003000 = 0x502: APERTURE_SMALL=VIDEO_MEMORY "
                    + "ADDRESS_SMALL_VID=0x5 (0x5000)",
                "PTE_64K[0] @0x100004000 = 0x600000000001001: VALID=1 APERTURE=VIDEO_MEMORY "
                    + "ADDRESS_VID=0x10 KIND=0x6",
                "PTE_4K[16] @0x100005000 = 0x54d: VALID=1 APERTURE=SYSTEM_COHERENT_MEMORY "
                    + "ADDRESS_SYS=0x5 VOL=1 READ_ONLY=1 KIND=0x0",
                "PDE0.BIG[1] @0x100003000 = 0x8: APERTURE_BIG=INVALID VOL_BIG=1 (sparse)",
                "PTE_2M[2] @0x100003000 = 0x10000001: VALID=1 APERTURE=VIDEO_MEMORY "
                    + "ADDRESS_VID=0x100000 KIND=0x0",
            ])
        #expect("\(GP100PTE(rawValue: 0x20))" == "VALID=0 PRIVILEGE=1 (4K PTEs ignored)")
        #expect("\(GP100PTE(rawValue: 0))" == "VALID=0")
    }
}
