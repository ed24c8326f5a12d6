import PageTables
import Testing

@Suite("Table pool")
struct TablePoolTests {
    @Test("reservations are promises: exact, refused whole, given back")
    func reservations() throws {
        let pool = try makePool(pages: 10)
        var first = try pool.reserve(6)
        #expect(pool.reserved == 6 && pool.available == 4 && pool.allocated == 0)
        #expect(throws: PageTableError.outOfTables(requested: 5, available: 4)) {
            _ = try pool.reserve(5)
        }
        #expect(pool.reserved == 6)
        let second = try pool.reserve(4)
        first.absorb(second)
        let promised = first.count
        #expect(promised == 10 && pool.reserved == 10)
        _ = consume first
        #expect(pool.reserved == 0 && pool.available == 10)
    }

    @Test("a pool needs aligned, owned, contiguous frames")
    func badPools() {
        let memory = FakeMemory(base: 0x10_0000, bytes: 16 * frameSize)
        #expect(throws: PageTableError.invalidPool(base: 0x10_0800, pageCount: 4)) {
            _ = try TablePool(memory: memory, base: 0x10_0800, pageCount: 4)
        }
        #expect(throws: PageTableError.invalidPool(base: 0x10_0000, pageCount: 0)) {
            _ = try TablePool(memory: memory, base: 0x10_0000, pageCount: 0)
        }
        #expect(throws: PageTableError.invalidPool(base: 0, pageCount: .max)) {
            _ = try TablePool(memory: memory, base: 0, pageCount: .max)
        }
        #expect(
            throws: PageTableError.poolNotContiguous(
                base: 0x10_0000, bytes: 0x1_1000, contiguousBytes: 0x1_0000)
        ) {
            _ = try TablePool(memory: memory, base: 0x10_0000, pageCount: 17)
        }
        #expect(
            throws: PageTableError.poolNotContiguous(
                base: 0x20_0000, bytes: 0x1000, contiguousBytes: 0)
        ) {
            _ = try TablePool(memory: memory, base: 0x20_0000, pageCount: 1)
        }
    }

    @Test("retired tables stay allocated until they are released")
    func retirement() throws {
        let pool = try makePool(pages: 4)
        let table = try PageTable(pool: pool)
        var reservation = try pool.reserve(3)
        var retired = RetiredTables()
        table.map(
            0, extents: [PhysicalExtent(address: 0x1000, bytes: 4096)], using: &reservation,
            retiring: &retired)
        _ = consume reservation
        #expect(pool.allocated == 4 && pool.reserved == 0)
        table.unmap(0, range: 4096, retiring: &retired)
        let retiredCount = retired.count
        #expect(retiredCount == 3 && pool.allocated == 4)
        #expect(throws: PageTableError.outOfTables(requested: 1, available: 0)) {
            _ = try pool.reserve(1)
        }
        pool.release(&retired)
        let isReleased = retired.isEmpty
        #expect(isReleased && pool.allocated == 1 && pool.available == 3)
        table.destroy()
        #expect(pool.allocated == 0)
    }

    @Test("a recycled table page holds nothing of its former life")
    func recycledPageIsZero() throws {
        let fixture = try TableFixture(pages: 7)
        try fixture.map(0, to: 0x1000, bytes: 4096)
        try fixture.map(0x5000, to: 0x9000, bytes: 4096)
        fixture.unmap(0, bytes: 2 * miB)
        try fixture.map(0x1000, to: 0x3000, bytes: 4096)
        #expect(fixture.leaves.map(\.address) == [0x1000])
        fixture.checkAccounting()
    }

    @Test("a table that is dropped gives its pages back")
    func drop() throws {
        let pool = try makePool(pages: 16)
        do {
            let table = try PageTable(pool: pool)
            var reservation = try pool.reserve(8)
            var retired = RetiredTables()
            table.map(
                0, extents: [PhysicalExtent(address: 0, bytes: 4 * miB)], using: &reservation,
                retiring: &retired)
            table.map(
                8 * miB, extents: [PhysicalExtent(address: 0x1000, bytes: 4096)],
                using: &reservation, retiring: &retired)
        }
        #expect(pool.allocated == 0 && pool.reserved == 0)
    }

    @Test(
        "tables needed: one for each 2 MiB, 1 GiB and 512 GiB span touched",
        arguments: [
            (0, 4096, 3), (0x1f_f000, 8192, 4), (0x3fff_f000, 8192, 5),
            (0x7f_ffff_f000, 8192, 6), (0, 0x4000_0000, 514), (0, 0x20_0000, 3),
            (0x10_0000, 0x4000_0000, 516), (0, 0, 0),
        ] as [(UInt64, UInt64, Int)])
    func needed(address: UInt64, range: UInt64, tables: Int) {
        #expect(PageTable.tablesNeeded(address: address, range: range) == tables)
    }

    @Test("valid ranges are page-aligned, not empty and inside the space")
    func validRanges() {
        #expect(PageTable.isValidRange(0, range: 1 << 48))
        #expect(PageTable.isValidRange((1 << 48) - 4096, range: 4096))
        #expect(!PageTable.isValidRange(0, range: 0))
        #expect(!PageTable.isValidRange(0x800, range: 4096))
        #expect(!PageTable.isValidRange(0, range: 0x1800))
        #expect(!PageTable.isValidRange(1 << 48, range: 4096))
        #expect(!PageTable.isValidRange((1 << 48) - 4096, range: 8192))
        #expect(!PageTable.isValidRange(4096, range: 0xffff_ffff_ffff_f000))
    }
}
