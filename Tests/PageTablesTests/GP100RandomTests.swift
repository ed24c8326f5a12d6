import PageTables
import TestSupport
import Testing

@Suite("Random operations on a GP100 table against a naive map")
struct GP100RandomTests {
    /// 8 MiB around the end of the first 128 TiB: every kind of table boundary, page by page.
    @Test("small ranges", arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
    func small(seed: UInt64) throws {
        try run(seed: seed, base: 1 << 47 - 4 * miB, bytes: 8 * miB, operations: 500)
    }

    /// 512 MiB around the end of the first 256 GiB.
    @Test("large ranges", arguments: [11, 12, 13] as [UInt64])
    func large(seed: UInt64) throws {
        try run(seed: seed, base: 1 << 38 - 256 * miB, bytes: 512 * miB, operations: 120)
    }

    private func run(seed: UInt64, base: UInt64, bytes: UInt64, operations: Int) throws {
        var random = SplitMix64(seed: seed)
        let fixture = try GP100Fixture(pages: 4096)
        var model = NaiveMap()
        for step in 0..<operations {
            let (start, length) = range(&random, base: base, bytes: bytes)
            let flags: PTEFlags = random.chance(15) ? .readOnly : []
            let kind: UInt8 = random.chance(15) ? 0x06 : 0
            let choice = random.below(100)
            let context = "seed \(seed), step \(step), choice \(choice), \(start)+\(length)"
            if choice < 25 {
                try fixture.unmapAnything(start, bytes: length)
                model.unmap(start, start + length)
            } else if choice < 40 {
                try fixture.mapNull(start, bytes: length)
                model.mapNull(start, start + length, [])
            } else {
                let extents = extents(&random, start: start - base, length: length)
                try fixture.map(start, extents, flags, kind: kind)
                model.map(start, extents, flags, kind: kind)
            }
            let expected = model.expectedLeaves(shifts: [21, 16, 12])
            #expect(fixture.leaves == expected, "\(context)")
            fixture.checkAccounting(context)
            for _ in 0..<40 { check(base + random.below(bytes), fixture, expected, context) }
            for edge in [start, start + length - 1, start &- 1, start + length] {
                check(edge, fixture, expected, context)
            }
        }
        // What reads zero is cut with tables in hand only.
        for leaf in fixture.leaves where leaf.isNull {
            try fixture.unmapAnything(leaf.address, bytes: leaf.bytes)
        }
        try exhaust(&random, fixture, base: base, bytes: bytes, "seed \(seed)")
        fixture.unmap(base, bytes: bytes)
        #expect(fixture.pool.allocated == 1 && fixture.pool.reserved == 0, "seed \(seed)")
        fixture.table.destroy()
        #expect(fixture.pool.allocated == 0, "seed \(seed)")
    }

    /// Unmaps page by page with all that is left promised to somebody else.
    private func exhaust(
        _ random: inout SplitMix64, _ fixture: GP100Fixture, base: UInt64, bytes: UInt64,
        _ context: String
    ) throws {
        let rest = try fixture.pool.reserve(fixture.pool.available)
        let count = rest.count
        for step in 0..<100 {
            fixture.unmap(base + random.below(bytes / 4096) * 4096, bytes: 4096)
            let audit = fixture.table.audit()
            #expect(audit.isSound, "step \(step), \(context)")
            #expect(
                fixture.pool.reserved == audit.neededReserve + count, "step \(step), \(context)")
        }
        _ = consume rest
    }

    /// A range on 4 KiB, 64 KiB or 2 MiB boundaries, the coarser ones being as likely.
    private func range(
        _ random: inout SplitMix64, base: UInt64, bytes: UInt64
    ) -> (UInt64, UInt64) {
        let units: [UInt64] = [4 * kiB, 64 * kiB, 2 * miB]
        let unit = units[Int(random.below(3))]
        let start = base + random.below(bytes / unit) * unit
        let most = min(base + bytes - start, unit * 40)
        return (start, (1 + random.below(most / unit)) * unit)
    }

    /// Mostly the frames that the addresses always have, so that merges happen; sometimes others, of
    /// video or host memory, and sometimes cut to pieces, contiguous or not.
    private func extents(
        _ random: inout SplitMix64, start: UInt64, length: UInt64
    ) -> [PhysicalExtent] {
        var physical = start + 16 * giB
        if random.chance(35) {
            let unit = random.chance(30) ? 2 * miB : random.chance(50) ? 64 * kiB : 4 * kiB
            physical = (random.chance(50) ? 64 * giB : miB) + random.below(1 << 9) * unit
        }
        var extents: [PhysicalExtent] = []
        var left = length
        let cuts = random.chance(50)
        while left > 0 {
            var part = left
            if cuts && extents.count < 20 {
                part = (1 + random.below(min(left / frameSize, 64))) * frameSize
            }
            extents.append(PhysicalExtent(address: physical, bytes: part))
            physical += part
            left -= part
            if random.chance(10) { physical += 32 * miB }
        }
        return extents
    }

    private func check(
        _ address: UInt64, _ fixture: GP100Fixture, _ expected: [PageTableLeaf],
        _ context: String
    ) {
        let position = expected.partition { $0.address + $0.bytes > address }
        let leaf =
            position < expected.count && expected[position].address <= address
            ? expected[position] : nil
        switch fixture.table.lookUp(address) {
        case .leaf(let found): #expect(found == leaf, "\(address): \(context)")
        case .fault(.notMapped): #expect(leaf == nil, "\(address): \(context)")
        case .fault(let reason): Issue.record("\(address): \(reason), \(context)")
        }
        let walk = fixture.table.walk(address)
        #expect(walk.result == fixture.table.lookUp(address), "\(address): \(context)")
        #expect(
            walk.steps.map(\.level) == Array([4, 3, 2, 1, 0].prefix(walk.stepCount)), "\(context)")
        switch walk.steps.last?.meaning {
        case .memory: #expect(leaf?.isNull == false, "\(address): \(context)")
        case .null: #expect(leaf?.isNull == true, "\(address): \(context)")
        default: #expect(leaf == nil, "\(address): \(context)")
        }
    }

    @Test(
        "an array of maps over nothing never outspends its demand",
        arguments: 21...28 as ClosedRange<UInt64>)
    func demand(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let fixture = try GP100Fixture(pages: 256)
        let base: UInt64 = 1 << 38 - 4 * miB
        // What is there before.
        for page in 0..<2048 as Range<UInt64> where random.chance(seed % 2 == 0 ? 2 : 0) {
            try fixture.map(base + page * 4096, to: 16 * giB + page * 4096, bytes: 4096)
        }
        let taken = Set(
            fixture.leaves.flatMap { leaf in
                (0..<(leaf.bytes >> 12)).map { (leaf.address - base) >> 12 + $0 }
            })
        var demand = PageTableDemand(GP100PageTable.self)
        var reservation = fixture.pool.emptyReservation()
        var retired = RetiredTables()
        var pages = (0..<2048 as Range<UInt64>).filter { !taken.contains($0) }
        if random.chance(50) { pages.shuffle(using: &random) }
        for page in pages {
            let needed = demand.addMap(address: base + page * 4096, range: 4096)
            reservation.absorb(try fixture.pool.reserve(needed))
        }
        let promised = reservation.count
        #expect(promised < 64, "not in full for each page: \(promised), seed \(seed)")
        // Nothing is released before the end of the job.
        for page in pages {
            fixture.table.map(
                base + page * 4096,
                extents: [PhysicalExtent(address: 16 * giB + page * 4096, bytes: 4096)],
                using: &reservation, retiring: &retired)
        }
        fixture.pool.release(&retired)
        _ = consume reservation
        #expect(fixture.sizes == [21: 4], "seed \(seed)")
        fixture.checkAccounting("seed \(seed)")
    }

    @Test(
        "maps written as one need no more than one, whatever they replace",
        arguments: 1...20 as ClosedRange<UInt64>)
    func continuedDemand(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let fixture = try GP100Fixture(pages: 4096)
        let base: UInt64 = 1 << 38 - 4 * miB
        func extent(_ page: UInt64, _ frame: UInt64) -> PhysicalExtent {
            PhysicalExtent(address: 16 * giB + (page ^ frame) * 4096, bytes: 4096)
        }
        // What is there before: nothing, small pages, or leaves that a page in them splits.
        if seed % 3 == 1 {
            for page in 0..<2048 as Range<UInt64> where random.chance(50) {
                try fixture.map(base + page * 4096, to: 16 * giB + page * 4096, bytes: 4096)
            }
        } else if seed % 3 == 2 {
            try fixture.map(base, to: 16 * giB, bytes: 8 * miB)
        }
        var demand = PageTableDemand(GP100PageTable.self)
        if seed % 3 != 0 { demand.addReplacement() }
        var reservation = fixture.pool.emptyReservation()
        var runs: [Range<UInt64>] = []
        var page: UInt64 = 0
        while page < 2048 {
            let end = min(2048, page + 1 + random.below(300))
            for one in page..<end {
                let needed = demand.addMap(
                    address: base + one * 4096, range: 4096, isContinued: one > page)
                reservation.absorb(try fixture.pool.reserve(needed))
            }
            runs.append(page..<end)
            page = end + random.below(3)
        }
        // Two for each 2 MiB of each run, and the tables above, which are there once for all.
        let spans = runs.reduce(0) { $0 + Int(($1.upperBound - 1) >> 9 - $1.lowerBound >> 9 + 1) }
        #expect(reservation.count <= 2 * spans + 6, "seed \(seed)")
        var retired = RetiredTables()
        for run in runs {
            let extents = run.map { extent($0, seed % 2 == 0 ? 0 : 1) }
            fixture.table.map(
                base + run.lowerBound * 4096, extents: extents,
                using: &reservation, retiring: &retired)
        }
        fixture.pool.release(&retired)
        _ = consume reservation
        for run in runs {
            for one in [run.lowerBound, run.upperBound - 1] {
                #expect(
                    fixture.table.walk(base + one * 4096).physical
                        == extent(one, seed % 2 == 0 ? 0 : 1).address, "seed \(seed)")
            }
        }
        fixture.checkAccounting("seed \(seed)")
    }

    @Test("a map that goes on with one that was shared pays for what it replaces")
    func continuedReplacement() throws {
        var demand = PageTableDemand(GP100PageTable.self)
        // Two maps pay for what insertions into 2 MiB may take; a third one has it.
        #expect(demand.addMap(address: 0, range: 4096) == 5)
        #expect(demand.addMap(address: 8192, range: 4096) == 2)
        #expect(demand.addMap(address: 16384, range: 4096) == 0)
        demand.addReplacement()
        #expect(demand.addMap(address: 20480, range: 4096, isContinued: true) == 2)
        #expect(demand.addMap(address: 24576, range: 4096, isContinued: true) == 0)
        #expect(demand.addMap(address: 40960, range: 4096) == 2)
        // Into the next 2 MiB.
        #expect(demand.addMap(address: 45056, range: 2 * miB, isContinued: true) == 2)
        demand.addRemoval()
        #expect(demand.addMap(address: 0, range: 4096) == 5)
    }
}

extension Array {
    /// The first position at which `isAfter` holds, if it holds from there on.
    fileprivate func partition(_ isAfter: (Element) -> Bool) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if isAfter(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
