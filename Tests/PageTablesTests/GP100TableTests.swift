import PageTables
import Testing

@Suite("GP100 page table")
struct GP100TableTests {
    private static let top: UInt64 = 1 << 49

    @Test("alignment of both addresses and the length choose the leaf")
    func sizeChoice() throws {
        let fixture = try GP100Fixture(pages: 2048)
        try fixture.map(giB, to: 8 * giB, bytes: giB)
        #expect(fixture.sizes == [21: 512])
        fixture.unmap(giB, bytes: giB)
        try fixture.map(giB, to: 8 * giB + 64 * kiB, bytes: 4 * miB)
        #expect(fixture.sizes == [16: 64])
        fixture.unmap(giB, bytes: 4 * miB)
        try fixture.map(2 * miB, to: 0x1000, bytes: 2 * miB)
        #expect(fixture.sizes == [12: 512])
        fixture.unmap(2 * miB, bytes: 2 * miB)
        try fixture.map(2 * miB - 68 * kiB, to: 8 * miB - 68 * kiB, bytes: 2 * miB + 136 * kiB)
        #expect(fixture.sizes == [12: 2, 16: 2, 21: 1])
        fixture.checkAccounting()
        fixture.unmap(0, bytes: Self.top)
        #expect(fixture.pool.allocated == 1 && fixture.pool.reserved == 0)
    }

    @Test(
        "a hole splits 2 MiB to 64 KiB to 4 KiB, and filling it merges all the way up",
        arguments: [true, false])
    func splitAndMerge(isNull: Bool) throws {
        let fixture = try GP100Fixture(pages: 32)
        func fill(_ address: UInt64, _ bytes: UInt64) throws {
            if isNull {
                try fixture.mapNull(address, bytes: bytes)
            } else {
                try fixture.map(address, to: 8 * giB + address, bytes: bytes, .readOnly, kind: 6)
            }
        }
        // What a split takes: what is sparse does not hold it.
        let whole = isNull ? 0 : 2
        try fill(4 * miB, 2 * miB)
        #expect(fixture.sizes == [21: 1])
        // Root, PDE2, PDE1 and PDE0 tables.
        #expect(fixture.pool.allocated == 4 && fixture.pool.reserved == whole)
        let hole = 5 * miB + 20 * kiB
        try fixture.unmapAnything(hole, bytes: 4096)
        #expect(fixture.sizes == [16: 31, 12: 15])
        #expect(fixture.pool.allocated == 6 && fixture.pool.reserved == 0)
        #expect(fixture.table.lookUp(hole) == .fault(.notMapped(level: 0)))
        fixture.checkAccounting()
        try fill(hole, 4096)
        #expect(fixture.sizes == [21: 1])
        #expect(fixture.pool.allocated == 4 && fixture.pool.reserved == whole)
        // 64 KiB at a time needs no small table, but holds one in reserve.
        try fixture.unmapAnything(4 * miB, bytes: 64 * kiB)
        #expect(fixture.sizes == [16: 31])
        #expect(fixture.pool.allocated == 5 && fixture.pool.reserved == 1)
        fixture.unmap(6 * miB - 4096, bytes: 4096)
        #expect(fixture.sizes == [16: 30, 12: 15])
        #expect(fixture.pool.allocated == 6 && fixture.pool.reserved == 0)
        try fill(6 * miB - 4096, 4096)
        #expect(fixture.sizes == [16: 31], "joined, and the empty small table is kept")
        #expect(fixture.pool.allocated == 6 && fixture.pool.reserved == 0)
        fixture.checkAccounting()
        try fill(4 * miB, 64 * kiB)
        #expect(fixture.sizes == [21: 1])
        fixture.checkAccounting()
        let leaf = PageTableLeaf(
            address: 4 * miB, physical: isNull ? 0 : 8 * giB + 4 * miB, sizeShift: 21,
            isNull: isNull, flags: isNull ? [] : .readOnly, kind: isNull ? 0 : 6)
        #expect(fixture.leaves == [leaf])
        #expect(fixture.table.lookUp(hole) == .leaf(leaf))
    }

    @Test("leaves with another kind, flag or aperture are not joined")
    func kinds() throws {
        let fixture = try GP100Fixture(pages: 64)
        try fixture.map(0, to: 8 * giB, bytes: 2 * miB, kind: 0x06)
        try fixture.map(64 * kiB, to: 8 * giB + 64 * kiB, bytes: 4096, kind: 0x07)
        #expect(fixture.sizes == [16: 31, 12: 16])
        #expect(fixture.leaves.filter { $0.kind == 0x07 }.map(\.address) == [64 * kiB])
        #expect(fixture.leaves.filter { $0.kind == 0x06 }.count == 46)
        try fixture.map(64 * kiB, to: 8 * giB + 64 * kiB, bytes: 4096, kind: 0x06)
        #expect(fixture.sizes == [21: 1])
        try fixture.map(64 * kiB, to: 8 * giB + 64 * kiB, bytes: 64 * kiB, .readOnly, kind: 0x06)
        #expect(fixture.sizes == [16: 32])
        fixture.unmap(0, bytes: 4 * miB)
        // Host memory ends where video memory begins, at 4 GiB.
        try fixture.map(
            0,
            [
                PhysicalExtent(address: 4 * giB - miB, bytes: miB),
                PhysicalExtent(address: 4 * giB, bytes: miB),
            ])
        #expect(fixture.sizes == [16: 32])
        #expect(fixture.table.decode(0).last?.rawValue == 0xfff_000d)
        #expect(fixture.table.decode(miB).last?.rawValue == 0x1)
        #expect(fixture.table.lookUp(miB - 1) != fixture.table.lookUp(miB))
        fixture.checkAccounting()
    }

    @Test("a slot of 64 KiB changes tables as its pages do, and is never in both")
    func dual() throws {
        let fixture = try GP100Fixture(pages: 64)
        try fixture.map(0, to: 8 * giB, bytes: 256 * kiB)
        // The first four pages elsewhere, the other twelve as they are: not one leaf.
        try fixture.map(
            64 * kiB,
            [
                PhysicalExtent(address: 9 * giB, bytes: 16 * kiB),
                PhysicalExtent(address: 8 * giB + 80 * kiB, bytes: 48 * kiB),
            ])
        #expect(fixture.sizes == [16: 3, 12: 16])
        fixture.checkAccounting()
        let way = fixture.table.decode(64 * kiB)
        #expect(way.map(\.kind).suffix(4) == [.bigHalf, .smallHalf, .bigPage, .smallPage])
        #expect(way[5].rawValue == 0, "the big entry says nothing")
        try fixture.map(64 * kiB, to: 10 * giB, bytes: 64 * kiB)
        #expect(fixture.table.decode(64 * kiB).last?.rawValue == 0, "the small entry says nothing")
        #expect(fixture.sizes == [16: 4])
        fixture.checkAccounting()
        // Small everywhere: the big table goes.
        try fixture.map(0, to: 8 * giB + 4096, bytes: 256 * kiB)
        #expect(fixture.sizes == [12: 64])
        #expect(fixture.pool.allocated == 5 && fixture.pool.reserved == 0)
        fixture.checkAccounting()
    }

    @Test("an exhausted pool refuses maps and never an unmap")
    func exhausted() throws {
        // Root and three directories, two leaves of 2 MiB with two each; a map of both asks for 7.
        let fixture = try GP100Fixture(pages: 1 + 7)
        try fixture.map(0, to: 8 * giB, bytes: 4 * miB)
        #expect(fixture.pool.available == 0)
        #expect(throws: PageTableError.self) { try fixture.map(giB, to: 0, bytes: 4096) }
        for slot in 0..<64 as Range<UInt64> {
            fixture.unmap(slot * 64 * kiB + (slot % 16) * 4096, bytes: 4096)
            fixture.checkAccounting("slot \(slot)")
        }
        #expect(fixture.sizes == [12: 64 * 15])
        #expect(fixture.pool.allocated == 6, "small tables only")
        #expect(fixture.pool.available == 2)
        fixture.unmap(0, bytes: 4 * miB)
        #expect(fixture.pool.allocated == 1 && fixture.pool.available == 7)
    }

    @Test(
        "an unmap that leaves big entries keeps the empty small table, which it could not pay back")
    func emptySmallTable() throws {
        let fixture = try GP100Fixture(pages: 1 + 5)
        try fixture.map(0, to: 8 * giB, bytes: 2 * miB)
        let rest = fixture.pool.available
        #expect(rest == 0)
        fixture.unmap(4096, bytes: 4096)
        fixture.unmap(0, bytes: 64 * kiB)
        #expect(fixture.sizes == [16: 31])
        #expect(fixture.pool.allocated == 6 && fixture.pool.reserved == 0)
        fixture.checkAccounting()
        fixture.unmap(64 * kiB, bytes: 2 * miB - 64 * kiB)
        #expect(fixture.pool.allocated == 1 && fixture.pool.reserved == 0)
    }

    @Test("the ends of the address space, and unmaps of nothing")
    func ends() throws {
        let fixture = try GP100Fixture(pages: 16)
        fixture.unmap(0, bytes: Self.top)
        try fixture.map(Self.top - 4096, to: 0x1000, bytes: 4096)
        try fixture.map(0, to: 0x2000, bytes: 4096)
        #expect(fixture.leaves.map(\.address) == [0, Self.top - 4096])
        fixture.unmap(4096, bytes: Self.top - 8192)
        #expect(fixture.leaves.count == 2)
        fixture.checkAccounting()
        #expect(GP100PageTable.isValidRange(0, range: Self.top))
        #expect(!GP100PageTable.isValidRange(Self.top - 4096, range: 8192))
        #expect(!GP100PageTable.isValidRange(Self.top, range: 4096))
        #expect(!GP100PageTable.isValidRange(0, range: 0))
        #expect(!GP100PageTable.isValidRange(0x800, range: 4096))
        fixture.unmap(0, bytes: Self.top)
        #expect(fixture.pool.allocated == 1)
        fixture.table.destroy()
        var retired = RetiredTables()
        fixture.table.zap(0, range: 4096, retiring: &retired)
        #expect(fixture.pool.allocated == 0)
    }

    @Test(
        "tables needed: two for each 2 MiB, one for each 512 MiB, 256 GiB and 128 TiB touched",
        arguments: [
            (0, 4096, 5), (0x1f_f000, 8192, 7), (0x1fff_f000, 8192, 8), (0x3f_ffff_f000, 8192, 9),
            (0x7fff_ffff_f000, 8192, 10), (0, 0x4000_0000, 1028), (0, 0x20_0000, 5), (0, 0, 0),
        ] as [(UInt64, UInt64, Int)])
    func needed(address: UInt64, range: UInt64, tables: Int) {
        #expect(GP100PageTable.tablesNeeded(address: address, range: range) == tables)
        if range != 0 {
            var demand = PageTableDemand(GP100PageTable.self)
            #expect(demand.addMap(address: address, range: range) == tables)
        }
    }

    @Test("what hardware does with entries that this writer does not write")
    func foreignEntries() throws {
        let memory = FakeMemory(base: 4 * giB, bytes: 64 * kiB)
        let pool = try TablePool(memory: memory, base: 4 * giB, pageCount: 16)
        let table = try GP100PageTable(pool: pool, vramBase: 4 * giB)
        let root = table.rootAddress
        func null(_ shift: UInt8) -> PageLookup {
            .leaf(
                PageTableLeaf(address: 0, physical: 0, sizeShift: shift, isNull: true, flags: []))
        }
        #expect(table.lookUp(0) == .fault(.notMapped(level: 4)))
        memory.setWord(root, 0x8)
        #expect(table.lookUp(12345) == null(47), "a sparse PDE3")
        memory.setWord(root, 0x9)
        #expect(table.lookUp(0) == .fault(.malformedEntry(level: 4, entry: 0x9)))
        memory.setWord(root, 0xdead_0002)
        #expect(table.lookUp(0) == .fault(.machineCheck(0xd_ead0_0000 + 4 * giB)))
        // PDE3, PDE2, PDE1 in the pages 1 to 3, the tables of PDE0 in 4 and 5.
        for level in 0..<3 as Range<UInt64> {
            memory.setWord(root + level * 4096, (level + 1) << 8 | 2)
        }
        let directory0 = root + 3 * 4096
        memory.setWord(root + 4096, 0x8)
        #expect(table.lookUp(12345) == null(38))
        memory.setWord(root + 4096, 2 << 8 | 2)
        memory.setWord(root + 2 * 4096, 0x8)
        #expect(table.lookUp(12345) == null(29))
        memory.setWord(root + 2 * 4096, 3 << 8 | 2)
        #expect(table.lookUp(0) == .fault(.notMapped(level: 1)))
        memory.setWord(directory0, 0x8)
        #expect(table.lookUp(12345) == null(21))
        // A big table that shares its page: at 256 bytes × 3 in page 4.
        memory.setWord(directory0, 0x43 << 4 | 2)
        memory.setWord(directory0 + 8, 5 << 8 | 2)
        let bigEntry = root + 4 * 4096 + 0x300
        let smallEntry = root + 5 * 4096
        memory.setWord(smallEntry, 0x77 << 8 | 1)
        memory.setWord(bigEntry, 0x10 << 8 | 1)
        #expect(table.walk(0x1234).physical == 4 * giB + 0x1_1234, "the big entry comes first")
        #expect(table.walk(0x234).steps.map(\.entry).suffix(2) == [0x432, 0x1001])
        memory.setWord(bigEntry, 0)
        #expect(table.walk(0x234).physical == 4 * giB + 0x7_7234, "else the small one")
        memory.setWord(bigEntry, 0x20)
        #expect(table.lookUp(0) == .fault(.notMapped(level: 0)), "PRIVILEGE hides the small one")
        memory.setWord(bigEntry, 0x8)
        #expect(table.lookUp(0) == null(16))
        memory.setWord(bigEntry, 0)
        for malformed in [
            // Privileged, encrypted, another device's, of the invalid kind; a peer; reserved bits.
            0x21, 0x11, 0x3, 0xff00_0000_0000_0001, 0x2_0000_0001, 0x40_0000_0000_0001,
        ] as [UInt64] {
            memory.setWord(smallEntry, malformed)
            #expect(table.lookUp(0) == .fault(.malformedEntry(level: 0, entry: malformed)))
        }
        // A misaligned big page, a misaligned 2 MiB.
        memory.setWord(bigEntry, 0x11 << 8 | 1)
        #expect(table.lookUp(0) == .fault(.malformedEntry(level: 0, entry: 0x1101)))
        memory.setWord(directory0, 0x10 << 8 | 1)
        #expect(table.lookUp(0) == .fault(.malformedEntry(level: 1, entry: 0x1001)))
        // ATOMIC_DISABLE and COMPTAGLINE do not matter to a load.
        memory.setWord(directory0, 0x12_3450_0020_0081)
        #expect(table.walk(0x1234).physical == 4 * giB + 0x200_1234)
        memory.setWord(root, 0)
    }

    @Test("both classes behind the protocol")
    func behindProtocol() throws {
        let pool = try makePool(pages: 256)
        let tables: [any PageTableWriting] = [
            try PageTable(pool: pool), try GP100PageTable(pool: pool, vramBase: 4 * giB),
        ]
        for table in tables {
            let needed = type(of: table).tablesNeeded(address: 0, range: 68 * kiB)
            var reservation = try pool.reserve(2 * needed)
            var retired = RetiredTables()
            let extents = [PhysicalExtent(address: 8 * giB, bytes: 68 * kiB)]
            extents.withUnsafeBufferPointer {
                table.map(
                    0, extents: $0, flags: [], kind: 6, using: &reservation, retiring: &retired)
            }
            table.mapNull(miB, range: 64 * kiB, flags: [], using: &reservation, retiring: &retired)
            #expect(table.audit().isSound)
            let counts = table.countLeaves()
            #expect(counts.memory == [16: 1, 12: 1] && counts.null == [16: 1])
            var kinds: Set<UInt8> = []
            table.forEachLeaf(from: 0, range: 68 * kiB) { kinds.insert($0.kind) }
            #expect(kinds == (table is GP100PageTable ? [6] : [0]))
            #expect(table.walk(0x1000).physical == 8 * giB + 0x1000)
            table.unmap(0, range: 2 * miB, retiring: &retired)
            pool.release(&retired)
            #expect(table.audit().tables == 1 && table.heldPages == 1)
            table.destroy()
        }
        #expect(pool.allocated == 0 && pool.reserved == 0)
    }
}
