import PageTables
import TestSupport
import Testing

/// Sparse entries above PDE0: 512 MiB, 256 GiB and 128 TiB, as nouveau writes them too (the page sizes
/// of kind "S" in nvkm/subdev/mmu/vmmgp100.c).
@Suite("Sparse ranges of a GP100 table")
struct GP100SparseTests {
    private static let tiB = 1024 * giB

    @Test(
        "a range costs what its edges do",
        arguments: [
            // address, range, tables needed, leaves by shift, tables with the root
            (0, 512 * miB, 2, [29: 1], 3),
            (giB, giB, 2, [29: 2], 3),
            (0, 1024 * giB, 1, [38: 4], 2),
            (0, 512 * giB + 4096, 5, [38: 2, 12: 1], 5),
            (256 * giB - 2 * miB, 4 * miB, 5, [21: 2], 6),
            (0, 1 << 47, 0, [47: 1], 1),
            (512 * miB - 64 * kiB, 64 * giB + 128 * kiB, 8, [16: 2, 29: 128], 7),
        ] as [(UInt64, UInt64, Int, [UInt8: Int], Int)])
    func cost(address: UInt64, range: UInt64, needed: Int, sizes: [UInt8: Int], tables: Int) throws
    {
        #expect(GP100PageTable.nullTablesNeeded(address: address, range: range) == needed)
        #expect(GP100PageTable.unmapTablesNeeded(address: address, range: range) == needed)
        var demand = PageTableDemand(GP100PageTable.self)
        #expect(demand.addNullMap(address: address, range: range) == needed)
        let fixture = try GP100Fixture(pages: 1 + needed)
        try fixture.mapNull(address, bytes: range)
        #expect(fixture.sizes == sizes)
        #expect(fixture.pool.allocated == tables)
        fixture.checkAccounting()
        for probe in [address, address + range / 2, address + range - 1] {
            guard case .leaf(let leaf) = fixture.table.lookUp(probe) else {
                Issue.record("nothing at \(probe)")
                continue
            }
            #expect(leaf.isNull && leaf.address <= probe && probe - leaf.address < leaf.bytes)
        }
        // Exactly what was mapped is unmapped without a table to spend.
        fixture.unmap(address, bytes: range)
        #expect(fixture.pool.allocated == 1 && fixture.pool.reserved == 0)
    }

    @Test("the bytes of a sparse entry at each level: VOL alone")
    func bytes() throws {
        let memory = FakeMemory(base: 4 * giB, bytes: 64 * kiB)
        let pool = try TablePool(memory: memory, base: 4 * giB, pageCount: 16)
        let fixture = GP100Fixture(pool: pool, try GP100PageTable(pool: pool, vramBase: 4 * giB))
        try fixture.mapNull(1 << 47, bytes: 1 << 47)
        #expect(memory.word(4 * giB + 8) == 0x8, "PDE3[1]")
        try fixture.mapNull(256 * giB, bytes: 256 * giB)
        let pde2 = 4 * giB + (memory.word(4 * giB) & ~0xff) << 4
        #expect(memory.word(pde2 + 8) == 0x8 && memory.word(pde2) == 0, "PDE2[1]")
        try fixture.mapNull(512 * miB, bytes: 512 * miB)
        let pde1 = 4 * giB + (memory.word(pde2) & ~0xff) << 4
        #expect(memory.word(pde1 + 8) == 0x8 && memory.word(pde1) == 0, "PDE1[1]")
        // A page of memory in the last one: a directory of 256 sparse entries but one.
        try fixture.map(512 * miB, to: 5 * giB, bytes: 4096, kind: 6)
        let pde0 = 4 * giB + (memory.word(pde1 + 8) & ~0xff) << 4
        #expect(memory.word(pde1 + 8) & 0xff == 0x02)
        for index in 1..<256 as Range<UInt64> {
            #expect(memory.word(pde0 + index * 16) == 0x8, "PDE0[\(index)]")
            #expect(memory.word(pde0 + index * 16 + 8) == 0, "PDE0[\(index)], small")
        }
        fixture.checkAccounting()
        var lines: [String] = []
        fixture.table.forEachEntry { if $0.rawValue == 0x8 { lines.append("\($0)") } }
        #expect(lines.contains { $0.hasPrefix("PDE2[1]") && $0.hasSuffix("VOL=1 (sparse)") })
        fixture.unmap(0, bytes: 1 << 49)
        #expect(pool.allocated == 1 && pool.reserved == 0)
    }

    @Test("memory in a sparse terabyte comes and goes, and zeros stay around it")
    func terabyte() throws {
        let fixture = try GP100Fixture(pages: 64)
        try fixture.mapNull(0, bytes: Self.tiB)
        let address = 300 * giB + 3 * miB + 20 * kiB
        try fixture.map(address, to: 5 * giB + 20 * kiB, bytes: 64 * kiB)
        #expect(fixture.leaves.filter { !$0.isNull }.reduce(0) { $0 + $1.bytes } == 64 * kiB)
        #expect(
            fixture.leaves.filter(\.isNull).reduce(0) { $0 + $1.bytes } == Self.tiB - 64 * kiB)
        for probe in [address - 1, address + 64 * kiB, 300 * giB, Self.tiB - 1] {
            guard case .leaf(let leaf) = fixture.table.lookUp(probe) else {
                Issue.record("a hole at \(probe)")
                continue
            }
            #expect(leaf.isNull)
        }
        fixture.checkAccounting()
        try fixture.mapNull(address, bytes: 64 * kiB)
        #expect(!fixture.leaves.contains { !$0.isNull })
        #expect(fixture.leaves.reduce(0) { $0 + $1.bytes } == Self.tiB)
        // Root, PDE2; the directories of the two entries that were cut stay.
        #expect(fixture.pool.allocated == 4 && fixture.pool.reserved == 0)
        try fixture.mapNull(0, bytes: Self.tiB)
        #expect(fixture.sizes == [38: 4], "written anew as a whole")
        #expect(fixture.pool.allocated == 2)
        fixture.checkAccounting()
    }

    @Test(
        "zeros over memory take no table, however full the pool is",
        arguments: 51...56 as ClosedRange<UInt64>)
    func zerosOverMemory(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let fixture = try GP100Fixture(pages: 256)
        try fixture.mapNull(0, bytes: giB)
        var mapped: [(address: UInt64, bytes: UInt64)] = []
        var address: UInt64 = 0
        while address < 32 * miB {
            let unit: UInt64 = [4 * kiB, 64 * kiB, 2 * miB][Int(random.below(3))]
            address = (address + unit - 1) / unit * unit
            let bytes = unit * (1 + random.below(4))
            let physical = random.chance(50) ? 16 * giB + address : 32 * giB + 4096
            try fixture.map(address, to: physical, bytes: bytes)
            mapped.append((address, bytes))
            address += bytes + random.below(3) * unit
        }
        let rest = try fixture.pool.reserve(fixture.pool.available)
        for part in mapped.shuffled(using: &random) {
            // A piece of it, then all of it.
            let pages = part.bytes / frameSize
            let first = random.below(pages)
            for (start, bytes) in [
                (part.address + first * frameSize, (1 + random.below(pages - first)) * frameSize),
                (part.address, part.bytes),
            ] {
                var none = fixture.pool.emptyReservation()
                var retired = RetiredTables()
                fixture.table.mapNull(start, range: bytes, using: &none, retiring: &retired)
                fixture.pool.release(&retired)
                #expect(fixture.table.audit().isSound, "seed \(seed), \(start)+\(bytes)")
            }
        }
        _ = consume rest
        #expect(!fixture.leaves.contains { !$0.isNull }, "seed \(seed)")
        #expect(fixture.leaves.reduce(0) { $0 + $1.bytes } == giB, "seed \(seed)")
        fixture.checkAccounting("seed \(seed)")
    }

    @Test("an unmap cuts with exactly the tables that it was promised")
    func cut() throws {
        // Root; 2 PDE2 entries cut in one unmap: two of each lower directory, two tables of pages each.
        let address = 256 * giB - 4096
        #expect(GP100PageTable.unmapTablesNeeded(address: address, range: 8192) == 9)
        let fixture = try GP100Fixture(pages: 1 + 1 + 9)
        try fixture.mapNull(0, bytes: 512 * giB)
        #expect(fixture.pool.allocated == 2)
        try fixture.unmapAnything(address, bytes: 8192)
        #expect(fixture.table.lookUp(address) == .fault(.notMapped(level: 0)))
        #expect(fixture.table.lookUp(address + 4096) == .fault(.notMapped(level: 0)))
        #expect(!fixture.leaves.contains { !$0.isNull })
        #expect(fixture.leaves.reduce(0) { $0 + $1.bytes } == 512 * giB - 8192)
        fixture.checkAccounting()
    }

    @Test(
        "An array of maps and returns to zero in a region never outspends its demand",
        arguments: 41...46 as ClosedRange<UInt64>)
    func demand(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let fixture = try GP100Fixture(pages: 1 << 16)
        // Around the end of the first 256 GiB: directories of every level are shared.
        let base = 256 * giB - 4 * miB
        try fixture.mapNull(0, bytes: 512 * giB)
        for _ in 0..<3 {
            var demand = PageTableDemand(GP100PageTable.self)
            var reservation = fixture.pool.emptyReservation()
            var retired = RetiredTables()
            var operations: [(address: UInt64, bytes: UInt64, isNull: Bool)] = []
            var inFull = 0
            for _ in 0..<200 {
                let unit: UInt64 = [4 * kiB, 64 * kiB, 2 * miB][Int(random.below(3))]
                let bytes = unit * (1 + random.below(3))
                let address = base + random.below((8 * miB - bytes) / unit + 1) * unit
                let isNull = random.chance(40)
                // Now and then all of the directories.
                let isWhole = random.chance(2)
                operations.append(
                    isWhole
                        ? (255 * giB, 2 * giB, true) : (address, bytes, isNull))
                let next = operations[operations.count - 1]
                demand.addReplacement()
                let needed =
                    next.isNull
                    ? demand.addNullMap(address: next.address, range: next.bytes)
                    : demand.addMap(address: next.address, range: next.bytes)
                inFull +=
                    next.isNull
                    ? GP100PageTable.nullTablesNeeded(address: next.address, range: next.bytes)
                    : GP100PageTable.tablesNeeded(address: next.address, range: next.bytes)
                reservation.absorb(try fixture.pool.reserve(needed))
            }
            let promised = reservation.count
            #expect(promised * 3 < inFull * 2, "\(promised) of \(inFull), seed \(seed)")
            // Nothing is released before the end of the job.
            for next in operations {
                if next.isNull {
                    fixture.table.mapNull(
                        next.address, range: next.bytes, using: &reservation, retiring: &retired)
                } else {
                    fixture.table.map(
                        next.address,
                        extents: [PhysicalExtent(address: 16 * giB, bytes: next.bytes)],
                        using: &reservation, retiring: &retired)
                }
            }
            fixture.pool.release(&retired)
            _ = consume reservation
            fixture.checkAccounting("seed \(seed)")
        }
    }

    /// Ranges of every size, from a page to 512 GiB, over 2 TiB; probes instead of lists of leaves.
    @Test("random operations against a naive map", arguments: 31...36 as ClosedRange<UInt64>)
    func random(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let fixture = try GP100Fixture(pages: 8192)
        var model = NaiveMap()
        var interesting: [UInt64] = [0]
        for step in 0..<300 {
            let choice = random.below(100)
            // Memory has 128 GiB at most.
            let units: [UInt64] =
                choice < 60
                ? [4 * kiB, 64 * kiB, 2 * miB, 512 * miB, 256 * giB] : [4 * kiB, 64 * kiB, 2 * miB]
            let unit = units[Int(random.below(UInt64(units.count)))]
            let length = unit * (1 + random.below(unit == 256 * giB ? 2 : 5))
            // Near what was touched before, so that things are cut.
            let near = interesting[Int(random.below(UInt64(interesting.count)))]
            let offset =
                random.chance(70) ? near + random.below(9) * unit : random.below(2048) * giB
            let start = min(offset, 2048 * giB - length) / unit * unit
            let context = "seed \(seed), step \(step), choice \(choice), \(start)+\(length)"
            if choice < 25 {
                try fixture.unmapAnything(start, bytes: length)
                model.unmap(start, start + length)
            } else if choice < 60 {
                try fixture.mapNull(start, bytes: length)
                model.mapNull(start, start + length, [])
            } else {
                let extent = PhysicalExtent(
                    address: 16 * giB + start % (64 * giB), bytes: length)
                try fixture.map(start, [extent])
                model.map(start, [extent], [])
            }
            interesting += [start, start + length]
            let audit = fixture.table.audit()
            #expect(audit.isSound && fixture.pool.reserved == audit.neededReserve, "\(context)")
            #expect(fixture.pool.allocated == audit.tables, "\(context)")
            var probes = [start, start &- 1, start + length - 1, start + length]
            for _ in 0..<20 {
                let edge = interesting[Int(random.below(UInt64(interesting.count)))]
                probes.append(edge &+ random.below(3) * 4096 &- 4096)
            }
            for probe in probes where probe < 2048 * giB {
                let segment = model.find(probe)
                switch fixture.table.lookUp(probe) {
                case .leaf(let leaf):
                    let physical = leaf.isNull ? nil : leaf.physical + (probe - leaf.address)
                    #expect(segment != nil, "\(probe): \(context)")
                    #expect(
                        physical == segment?.physical.map { $0 + (probe - segment!.start) },
                        "\(probe): \(context)")
                case .fault(.notMapped): #expect(segment == nil, "\(probe): \(context)")
                case .fault(let reason): Issue.record("\(probe): \(reason), \(context)")
                }
            }
        }
        try fixture.unmapAnything(0, bytes: 2048 * giB)
        #expect(fixture.pool.allocated == 1 && fixture.pool.reserved == 0, "seed \(seed)")
    }
}
