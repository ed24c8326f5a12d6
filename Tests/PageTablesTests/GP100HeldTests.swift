import PageTables
import TestSupport
import Testing

/// Memory that is taken away and comes back, while somebody else has all that is left of the pool.
@Suite("Held entries of a GP100 table")
struct GP100HeldTests {
    private static let base: UInt64 = 1 << 38 - 4 * miB

    @Test(
        "each leaf leaves a hole of its size, which holds what it held",
        arguments: [
            // bytes at 2 MiB, the physical address's offset, pages held, level of the fault
            (2 * miB, 0, 2, 1), (64 * kiB, 0, 2, 0), (4 * kiB, 0, 1, 0),
            (2 * miB, 64 * kiB, 2, 0), (2 * miB, 4 * kiB, 1, 0),
        ] as [(UInt64, UInt64, Int, Int)])
    func sizes(bytes: UInt64, offset: UInt64, pages: Int, level: Int) throws {
        let fixture = try GP100Fixture(pages: 16)
        try fixture.map(2 * miB, to: 16 * giB + offset, bytes: bytes)
        let (leaves, held) = (fixture.sizes, fixture.table.heldPages)
        #expect(held == 4 + pages, "root, PDE2, PDE1, PDE0")
        zap(fixture, 2 * miB, bytes)
        #expect(fixture.leaves.isEmpty)
        #expect(fixture.table.heldPages == held)
        for address in [2 * miB, 2 * miB + bytes - 1] {
            #expect(fixture.table.lookUp(address) == .fault(.notMapped(level: level)))
        }
        fixture.checkAccounting()
        // Comes back as it was.
        try unpaid(fixture) { reservation, retired in
            fixture.table.map(
                2 * miB, extents: [PhysicalExtent(address: 32 * giB + offset, bytes: bytes)],
                using: &reservation, retiring: &retired)
        }
        #expect(fixture.sizes == leaves && fixture.table.heldPages == held)
        zap(fixture, 2 * miB, bytes)
        fixture.unmap(2 * miB, bytes: bytes)
        #expect(fixture.pool.allocated == 1 && fixture.pool.reserved == 0)
    }

    @Test("the bytes of held entries: neither valid nor sparse, and no table")
    func bytes() throws {
        let memory = FakeMemory(base: 4 * giB, bytes: 64 * kiB)
        let pool = try TablePool(memory: memory, base: 4 * giB, pageCount: 16)
        let fixture = GP100Fixture(pool: pool, try GP100PageTable(pool: pool, vramBase: 4 * giB))
        try fixture.map(0, to: 16 * giB, bytes: 2 * miB)
        try fixture.map(2 * miB, to: 16 * giB, bytes: 64 * kiB + 4096)
        zap(fixture, 0, 2 * miB + 64 * kiB + 4096)
        var entries: [TableEntry] = []
        fixture.table.forEachEntry(from: 0) { (entry: TableEntry) in
            entries.append(entry)
            return true
        }
        let blank = entries.filter { $0.rawValue & 0x6 == 0 }
        #expect(blank.map(\.rawValue) == [0x20, 0x20, 0x20], "\(blank)")
        #expect(blank.map(\.address) == [0, 2 * miB, 2 * miB + 64 * kiB])
        #expect(GP100PDE(rawValue: 0x20, form: .big).aperture == .invalid)
        #expect(!GP100PTE(rawValue: 0x20).isValid && !GP100PTE(rawValue: 0x20).isSparse)
        _ = memory
    }

    @Test("taking memory away leaves nothing where there was nothing, and zeros in larger entries")
    func zapOfOthers() throws {
        let fixture = try GP100Fixture(pages: 16)
        try fixture.mapNull(0, bytes: giB)
        try fixture.mapNull(giB, bytes: 2 * miB)
        for (address, range) in [
            (0, 512 * miB), (4096, 4096), (512 * miB - 4096, 8192), (giB + 4096, 64 * kiB),
            (giB + 4 * miB, 2 * miB), (300 * giB, giB),
        ] as [(UInt64, UInt64)] {
            zap(fixture, address, range)
            #expect(fixture.sizes == [29: 2, 21: 1], "\(address)")
            fixture.checkAccounting()
        }
    }

    @Test("who holds a range takes as much as a map of it")
    func hold() throws {
        let fixture = try GP100Fixture(pages: 64)
        try fixture.mapNull(0, bytes: 512 * giB)
        let (start, bytes) = (256 * giB - 2 * miB - 4096, 4 * miB + 8192)
        var reservation = try fixture.pool.reserve(
            GP100PageTable.tablesNeeded(address: start, range: bytes))
        var retired = RetiredTables()
        fixture.table.hold(start, range: bytes, using: &reservation, retiring: &retired)
        fixture.pool.release(&retired)
        _ = consume reservation
        fixture.checkAccounting()
        for address in [start, 256 * giB - 1, 256 * giB, start + bytes - 1] {
            guard case .fault(.notMapped) = fixture.table.lookUp(address) else {
                Issue.record("something at \(address)")
                continue
            }
        }
        #expect(fixture.leaves.reduce(0) { $0 + $1.bytes } == 512 * giB - bytes)
        // Zeros again, in the middle first.
        for (address, range) in [(256 * giB - 4096, 8192), (start, bytes)] {
            try unpaid(fixture) { reservation, retired in
                fixture.table.mapNull(
                    address, range: range, flags: [], joining: 0..<512 * giB,
                    using: &reservation, retiring: &retired)
            }
        }
        #expect(fixture.leaves.reduce(0) { $0 + $1.bytes } == 512 * giB)
        #expect(!fixture.leaves.contains { !$0.isNull })
    }

    @Test("zeros join up to the bounds that are given, so that one side goes without a table")
    func bounds() throws {
        let fixture = try GP100Fixture(pages: 16)
        let cut = 3 * miB + 20 * kiB
        func zero(_ range: Range<UInt64>, _ joined: Range<UInt64>) throws {
            let bytes = range.upperBound - range.lowerBound
            var reservation = try fixture.pool.reserve(
                GP100PageTable.nullTablesNeeded(address: range.lowerBound, range: bytes))
            var retired = RetiredTables()
            fixture.table.mapNull(
                range.lowerBound, range: bytes, flags: [], joining: joined, using: &reservation,
                retiring: &retired)
            fixture.pool.release(&retired)
        }
        try zero(0..<cut, 0..<cut)
        try zero(cut..<6 * miB, cut..<6 * miB)
        #expect(fixture.leaves.count { $0.sizeShift == 21 } == 2, "the first and the last 2 MiB")
        try unpaid(fixture) { reservation, retired in
            fixture.table.unmap(0, range: cut, using: &reservation, retiring: &retired)
        }
        #expect(fixture.leaves.reduce(0) { $0 + $1.bytes } == 6 * miB - cut)
        try zero(2 * miB..<cut, 0..<6 * miB)
        #expect(fixture.sizes == [21: 2], "in one now")
        fixture.checkAccounting()
    }

    /// What a tree would have: disjoint mappings, some of them of memory that is away. With all that the
    /// pool has left promised to somebody else, memory goes and comes back elsewhere, and any part is
    /// unmapped or reads zero.
    @Test("nothing but a map takes tables", arguments: 61...72 as ClosedRange<UInt64>)
    func random(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let fixture = try GP100Fixture(pages: 256)
        var model = NaiveMap()
        var mappings: [Range<UInt64>] = []
        func remove(_ range: Range<UInt64>) {
            mappings = mappings.flatMap { old -> [Range<UInt64>] in
                guard old.overlaps(range) else { return [old] }
                return [
                    old.lowerBound..<max(old.lowerBound, range.lowerBound),
                    min(old.upperBound, range.upperBound)..<old.upperBound,
                ].filter { !$0.isEmpty }
            }
        }
        /// The frames of an address, most often in the one run that makes large leaves.
        func extents(_ range: Range<UInt64>) -> [PhysicalExtent] {
            let bytes = range.upperBound - range.lowerBound
            let offset = range.lowerBound - Self.base
            let start = [16 * giB, 32 * giB, 64 * giB + 64 * kiB, 80 * giB + 4 * kiB][
                Int(random.below(4))]
            if bytes == 4096 || random.chance(60) {
                return [PhysicalExtent(address: start + offset, bytes: bytes)]
            }
            let first = (1 + random.below(bytes / 4096 - 1)) * 4096
            return [
                PhysicalExtent(address: start + offset, bytes: first),
                PhysicalExtent(address: start + giB + offset + first, bytes: bytes - first),
            ]
        }
        for step in 0..<300 {
            let unit: UInt64 = [4 * kiB, 64 * kiB, 2 * miB][Int(random.below(3))]
            let first = random.below(8 * miB / unit)
            let count = 1 + random.below(min(8 * miB / unit - first, 20))
            let start = Self.base + first * unit
            let range = start..<(start + count * unit)
            let context = "seed \(seed), step \(step), \(range)"
            let held = fixture.table.heldPages
            switch random.below(8) {
            case 0...2:
                let extents = extents(range)
                try fixture.map(start, extents)
                model.map(start, extents, [])
                remove(range)
                mappings.append(range)
            case 3...4:
                guard let mapping = mappings.randomElement(using: &random) else { continue }
                zap(fixture, mapping.lowerBound, mapping.upperBound - mapping.lowerBound)
                model.unmap(mapping.lowerBound, mapping.upperBound)
                #expect(fixture.table.heldPages == held, "\(context)")
            case 5:
                guard let mapping = mappings.randomElement(using: &random) else { continue }
                let extents = extents(mapping)
                try unpaid(fixture) { reservation, retired in
                    fixture.table.map(
                        mapping.lowerBound, extents: extents, using: &reservation,
                        retiring: &retired)
                }
                model.map(mapping.lowerBound, extents, [])
                #expect(fixture.table.heldPages <= held, "\(context)")
            case 6:
                guard let mapping = mappings.randomElement(using: &random) else { continue }
                let part = mapping.clamped(to: range).isEmpty ? mapping : mapping.clamped(to: range)
                try unpaid(fixture) { reservation, retired in
                    fixture.table.mapNull(
                        part.lowerBound, range: part.upperBound - part.lowerBound, flags: [],
                        joining: part, using: &reservation, retiring: &retired)
                }
                model.mapNull(part.lowerBound, part.upperBound, [])
                remove(part)
                #expect(fixture.table.heldPages <= held, "\(context)")
            default:
                // What reads zero goes only with whole leaves of it.
                guard let mapping = mappings.randomElement(using: &random) else { continue }
                try unpaid(fixture) { reservation, retired in
                    fixture.table.unmap(
                        mapping.lowerBound, range: mapping.upperBound - mapping.lowerBound,
                        using: &reservation, retiring: &retired)
                }
                model.unmap(mapping.lowerBound, mapping.upperBound)
                remove(mapping)
                #expect(fixture.table.heldPages <= held, "\(context)")
            }
            fixture.checkAccounting(context)
            for _ in 0..<60 {
                let address = Self.base + random.below(8 * miB)
                let segment = model.find(address)
                switch fixture.table.lookUp(address) {
                case .leaf(let leaf):
                    let physical = leaf.isNull ? nil : leaf.physical + (address - leaf.address)
                    #expect(segment != nil, "\(address): \(context)")
                    #expect(
                        physical == segment?.physical.map { $0 + (address - segment!.start) },
                        "\(address): \(context)")
                case .fault(.notMapped): #expect(segment == nil, "\(address): \(context)")
                case .fault(let reason): Issue.record("\(address): \(reason), \(context)")
                }
            }
        }
        try fixture.unmapAnything(Self.base, bytes: 8 * miB)
        #expect(fixture.pool.allocated == 1 && fixture.pool.reserved == 0, "seed \(seed)")
    }

    private func zap(_ fixture: GP100Fixture, _ address: UInt64, _ bytes: UInt64) {
        var retired = RetiredTables()
        fixture.table.zap(address, range: bytes, retiring: &retired)
        fixture.pool.release(&retired)
    }

    /// An operation without a reservation, while the pool has nothing left.
    private func unpaid(
        _ fixture: GP100Fixture, _ body: (inout TableReservation, inout RetiredTables) -> Void
    ) throws {
        let rest = try fixture.pool.reserve(fixture.pool.available)
        var none = fixture.pool.emptyReservation()
        var retired = RetiredTables()
        body(&none, &retired)
        fixture.pool.release(&retired)
        _ = consume none
        _ = consume rest
    }
}
