import PageTables
import Testing

@Suite("Introspection")
struct IntrospectionTests {
    @Test("leaves of a range are those that overlap it")
    func leavesOfRange() throws {
        let fixture = try TableFixture(pages: 64)
        try fixture.map(0, to: 0x1000, bytes: 8 * kiB)
        try fixture.map(64 * kiB, to: miB, bytes: 64 * kiB)
        try fixture.mapNull(4 * miB, bytes: 2 * miB)
        var found: [UInt64] = []
        fixture.table.forEachLeaf(from: 4096, range: 64 * kiB) { found.append($0.address) }
        #expect(found == [4096, 64 * kiB])
        found = []
        fixture.table.forEachLeaf(from: 100 * kiB, range: 5 * miB) { found.append($0.address) }
        #expect(found == [64 * kiB, 4 * miB])
        found = []
        fixture.table.forEachLeaf(from: 5 * miB, range: .max) { found.append($0.address) }
        #expect(found == [4 * miB])
        fixture.table.forEachLeaf(from: 0, range: 0) { _ in Issue.record("an empty range") }
    }

    @Test("tables are listed with their level and their span's address")
    func tables() throws {
        let fixture = try TableFixture(pages: 16)
        try fixture.map(giB + 6 * miB, to: 0x1000, bytes: 4096)
        var found: [Int: UInt64] = [:]
        var addresses: Set<PhysicalAddress> = []
        fixture.table.forEachTable { address, level, base in
            found[level] = base
            addresses.insert(address)
        }
        #expect(found == [3: 0, 2: 0, 1: giB, 0: giB + 6 * miB])
        #expect(addresses == Set(fixture.table.walk(giB + 6 * miB).steps.map(\.table)))
    }

    @Test("a walk ends at a large leaf and at a null one")
    func walks() throws {
        let fixture = try TableFixture(pages: 2048)
        try fixture.map(2 * giB, to: 8 * giB, bytes: giB)
        try fixture.mapNull(3 * giB, bytes: giB)
        let memory = fixture.table.walk(2 * giB + 0x1234)
        #expect(memory.stepCount == 2 && memory[1].index == 2)
        #expect(memory[1].meaning == .memory(8 * giB, [], contiguous: false))
        #expect(memory.physical == 8 * giB + 0x1234)
        let null = fixture.table.walk(3 * giB)
        #expect(null.physical == nil)
        #expect(
            null.result
                == .leaf(
                    PageTableLeaf(
                        address: 3 * giB, physical: 0, sizeShift: 30, isNull: true, flags: [])))
    }
}
