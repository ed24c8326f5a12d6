import PageTables
import Testing

@Suite("Leaf sizes, splits and merges")
struct LeafTests {
    @Test("alignment of both addresses and the length choose the leaf")
    func sizeChoice() throws {
        let fixture = try TableFixture(pages: 2048)
        try fixture.map(giB, to: 4 * giB, bytes: giB)
        #expect(fixture.sizes == [30: 1])
        fixture.unmap(giB, bytes: giB)
        // The physical address is aligned to 2 MiB only.
        try fixture.map(giB, to: 4 * giB + 2 * miB, bytes: giB)
        #expect(fixture.sizes == [21: 512])
        fixture.unmap(giB, bytes: giB)
        // Not even congruent modulo 64 KiB.
        try fixture.map(2 * miB, to: 0x1000, bytes: 2 * miB)
        #expect(fixture.sizes == [12: 512])
        fixture.unmap(2 * miB, bytes: 2 * miB)
        // 4 KiB up to the next 64 KiB, those up to the next 2 MiB, and down again.
        try fixture.map(2 * miB - 68 * kiB, to: 8 * miB - 68 * kiB, bytes: 2 * miB + 136 * kiB)
        #expect(fixture.sizes == [12: 2, 16: 2, 21: 1])
        fixture.checkAccounting()
    }

    @Test("how the extents are cut does not matter")
    func extentsJoin() throws {
        let fixture = try TableFixture(pages: 64)
        let pages = (0..<1024).map { PhysicalExtent(address: 0x4000_0000 + $0 * 4096, bytes: 4096) }
        try fixture.map(0, pages)
        #expect(fixture.sizes == [21: 2])
        // Two neighbours that do not continue each other are never joined.
        try fixture.map(
            0,
            [
                PhysicalExtent(address: 0x20_0000, bytes: miB),
                PhysicalExtent(address: 0x20_0000, bytes: miB),
            ])
        #expect(fixture.sizes == [16: 32, 21: 1])
        fixture.checkAccounting()
    }

    @Test("a hole splits down to the frame and filling it merges all the way up")
    func splitAndMergeGiant() throws {
        let fixture = try TableFixture(pages: 600)
        try fixture.map(0, to: 2 * giB, bytes: giB)
        #expect(fixture.sizes == [30: 1])
        #expect(fixture.pool.reserved == 513 && fixture.pool.allocated == 2)
        let hole = 300 * miB + 20 * kiB
        fixture.unmap(hole, bytes: 4096)
        #expect(fixture.sizes == [21: 511, 16: 31, 12: 15])
        #expect(fixture.pool.reserved == 511 && fixture.pool.allocated == 4)
        fixture.checkAccounting()
        #expect(fixture.table.lookUp(hole) == .fault(.notMapped(level: 0)))
        try fixture.map(hole, to: 2 * giB + hole, bytes: 4096)
        #expect(fixture.sizes == [30: 1])
        #expect(fixture.pool.reserved == 513 && fixture.pool.allocated == 2)
        fixture.checkAccounting()
    }

    @Test("another flag or another frame keeps a table from merging")
    func noMerge() throws {
        let fixture = try TableFixture(pages: 64)
        try fixture.map(0, to: 4 * miB, bytes: 2 * miB)
        try fixture.map(64 * kiB, to: 4 * miB + 64 * kiB, bytes: 4096, .readOnly)
        #expect(fixture.sizes == [16: 31, 12: 16])
        try fixture.map(64 * kiB, to: 8 * miB, bytes: 4096)
        #expect(fixture.sizes == [16: 31, 12: 16])
        try fixture.map(64 * kiB, to: 4 * miB + 64 * kiB, bytes: 4096)
        #expect(fixture.sizes == [21: 1])
        try fixture.mapNull(1 * miB, bytes: 4096)
        #expect(fixture.sizes == [16: 31, 12: 16])
        fixture.checkAccounting()
    }

    @Test("null leaves are chosen, split and merged like others")
    func nullLeaves() throws {
        let fixture = try TableFixture(pages: 2048)
        try fixture.mapNull(0, bytes: 2 * giB)
        #expect(fixture.sizes == [30: 2])
        try fixture.map(giB + 4096, to: 0x1000, bytes: 4096)
        #expect(fixture.sizes == [30: 1, 21: 511, 16: 31, 12: 16])
        let counts = fixture.table.countLeaves()
        #expect(counts.memory == [12: 1])
        #expect(counts.mappedBytes == 4096 && counts.nullBytes == 2 * giB - 4096)
        try fixture.mapNull(giB + 4096, bytes: 4096)
        #expect(fixture.sizes == [30: 2])
        fixture.unmap(0, bytes: 2 * giB)
        #expect(fixture.pool.allocated == 1 && fixture.pool.reserved == 0)
    }

    @Test("an unmap of nothing changes nothing")
    func unmapNothing() throws {
        let fixture = try TableFixture(pages: 16)
        fixture.unmap(0, bytes: 1 << 48)
        #expect(fixture.pool.allocated == 1)
        try fixture.map(giB, to: 0x1000, bytes: 4096)
        fixture.unmap(0, bytes: giB)
        fixture.unmap(giB + 4096, bytes: giB)
        #expect(fixture.leaves.map(\.address) == [giB])
        #expect(fixture.pool.allocated == 4)
        fixture.checkAccounting()
    }

    @Test("the ends of the address space")
    func ends() throws {
        let fixture = try TableFixture(pages: 16)
        let top = (1 << 48) - 4096 as UInt64
        try fixture.map(top, to: 0x1000, bytes: 4096)
        try fixture.map(0, to: 0x2000, bytes: 4096)
        #expect(fixture.leaves.map(\.address) == [0, top])
        fixture.unmap(0, bytes: 1 << 48)
        #expect(fixture.pool.allocated == 1)
    }

    @Test("an exhausted pool refuses maps and never an unmap")
    func exhausted() throws {
        // The root, a table of 1 GiB leaves, one 1 GiB leaf with its 513, the map's own surplus.
        let fixture = try TableFixture(pages: 1 + 1 + 513 + 2)
        try fixture.map(0, to: 4 * giB, bytes: giB)
        let rest = try fixture.pool.reserve(fixture.pool.available)
        let restCount = rest.count
        #expect(throws: PageTableError.self) { try fixture.map(giB, to: 0, bytes: 4096) }
        for block in 0..<512 as Range<UInt64> {
            fixture.unmap(block * 2 * miB + block * 4096, bytes: 4096)
            let books = fixture.pool.allocated + fixture.pool.reserved
            #expect(books <= fixture.pool.capacity, "block \(block)")
        }
        #expect(fixture.pool.allocated == 2 + 513)
        #expect(fixture.pool.reserved == restCount)
        fixture.unmap(0, bytes: giB)
        #expect(fixture.pool.allocated == 1 && fixture.pool.reserved == restCount)
        _ = consume rest
        #expect(fixture.pool.reserved == 0)
    }
}
