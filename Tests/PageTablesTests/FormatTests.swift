import PageTables
import Testing

@Suite("Generic 48-bit format")
struct FormatTests {
    @Test("a table decodes by hand from its bytes")
    func rawDump() throws {
        let memory = FakeMemory(base: 0x7_0000_0000, bytes: 64 * kiB)
        let pool = try TablePool(memory: memory, base: memory.base + 0x4000, pageCount: 8)
        let table = try PageTable(pool: pool)
        var reservation = try pool.reserve(4)
        var retired = RetiredTables()
        // Index 1 on the root, 2, 3, 4 below: (1<<39) + (2<<30) + (3<<21) + (4<<12).
        let address: UInt64 = 0x80_8060_4000
        table.map(
            address, extents: [PhysicalExtent(address: 0xabc_d000, bytes: 4096)],
            flags: .readOnly, using: &reservation, retiring: &retired)
        table.mapNull(address + 4096, range: 4096, using: &reservation, retiring: &retired)
        let retiredCount = retired.count
        #expect(retiredCount == 0)

        #expect(table.rootAddress == 0x7_0000_4000)
        let root = memory.word(0x7_0000_4000 + 1 * 8)
        #expect(root & 0xfff == 0x001, "V")
        let second = memory.word((root & ~0xfff) + 2 * 8)
        #expect(second & 0xfff == 0x001, "V")
        let third = memory.word((second & ~0xfff) + 3 * 8)
        #expect(third & 0xfff == 0x001, "V")
        #expect(memory.word((third & ~0xfff) + 4 * 8) == 0x0abc_d003, "V L")
        #expect(memory.word((third & ~0xfff) + 5 * 8) == 0x0000_000f, "V L W N")
        #expect(memory.word((third & ~0xfff) + 6 * 8) == 0)
        let tables = [0x7_0000_4000, root & ~0xfff, second & ~0xfff, third & ~0xfff]
        #expect(Set(tables).count == 4)
        for table in tables {
            #expect((0x7_0000_4000..<0x7_0000_c000).contains(table), "a page of the pool")
        }

        let walk = table.walk(address + 0x123)
        #expect(walk.steps.map(\.table) == tables)
        #expect(walk.steps.map(\.index) == [1, 2, 3, 4])
        #expect(walk.steps.map(\.level) == [3, 2, 1, 0])
        #expect(walk.steps.map(\.entry) == [root, second, third, 0x0abc_d003])
        #expect(walk.physical == 0xabc_d123)
        let missing = table.walk(address + 0x20_0000)
        #expect(missing.stepCount == 3)
        #expect(missing.result == .fault(.notMapped(level: 1)))
        #expect(table.walk(1 << 48).result == .fault(.outOfRange))
        _ = consume reservation
        table.destroy()
    }

    @Test("the bits of large leaves and groups")
    func largeLeafBits() throws {
        let memory = FakeMemory(base: 0x10_0000, bytes: 64 * kiB)
        let pool = try TablePool(memory: memory, base: memory.base, pageCount: 1 << 4)
        let table = try PageTable(pool: pool)
        var reservation = try pool.reserve(5)
        var retired = RetiredTables()
        table.map(
            0x20_0000, extents: [PhysicalExtent(address: 0x4000_0000, bytes: 2 * miB)],
            using: &reservation, retiring: &retired)
        table.map(
            0x1_0000, extents: [PhysicalExtent(address: 0x8_0003_0000, bytes: 64 * kiB)],
            using: &reservation, retiring: &retired)
        let second = memory.word(memory.word(0x10_0000) & ~0xfff)
        let third = second & ~0xfff
        #expect(memory.word(third + 1 * 8) == 0x4000_0007, "V L W")
        let lowest = memory.word(third) & ~0xfff
        for slot in 0..<16 as Range<UInt64> {
            #expect(
                memory.word(lowest + (16 + slot) * 8) == 0x8_0003_0017 + slot << 12, "V L W C")
        }
        #expect(memory.word(lowest + 32 * 8) == 0)
        _ = consume reservation
        table.destroy()
    }

    @Test(
        "an entry with a bit that its level does not allow is malformed",
        arguments: [
            (0x2, 0), (0x1, 0), (0x1003, 3), (0x1003, 1), (0x20_0013, 1), (0x1009, 1),
            (0x1000, 2), (0x10_0000_0000_1003, 0), (0x1023, 0), (0x100f, 0), (0x1005, 2),
        ] as [(UInt64, Int)])
    func malformed(entry: UInt64, level: Int) {
        #expect(Generic48Format.decode(entry, level: level) == .malformed)
    }

    @Test("a corrupt table faults and does not translate")
    func corruptTable() throws {
        let memory = FakeMemory(base: 0x10_0000, bytes: 64 * kiB)
        let pool = try TablePool(memory: memory, base: memory.base, pageCount: 16)
        let table = try PageTable(pool: pool)
        memory.setWord(0x10_0000, 0xdead_0001)
        #expect(table.lookUp(0) == .fault(.machineCheck(0xdead_0000)))
        memory.setWord(0x10_0000, 0x2003)
        #expect(table.lookUp(0) == .fault(.malformedEntry(level: 3, entry: 0x2003)))
        memory.setWord(0x10_0000, 0)
        #expect(table.lookUp(0) == .fault(.notMapped(level: 3)))
    }
}
