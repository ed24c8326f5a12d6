import PageTables
import TestSupport
import Testing

@Suite("Random operations against a naive map")
struct RandomTableTests {
    /// 8 MiB around the end of the first 512 GiB: every kind of table boundary, page by page.
    @Test("small ranges", arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
    func small(seed: UInt64) throws {
        try run(
            seed: seed, base: 512 * giB - 4 * miB, bytes: 8 * miB, operations: 500, isHuge: false)
    }

    /// 6 GiB around the same place: leaves of every size.
    @Test("large ranges", arguments: [11, 12, 13, 14] as [UInt64])
    func large(seed: UInt64) throws {
        try run(seed: seed, base: 509 * giB, bytes: 6 * giB, operations: 200, isHuge: true)
    }

    private func run(
        seed: UInt64, base: UInt64, bytes: UInt64, operations: Int, isHuge: Bool
    ) throws {
        var random = SplitMix64(seed: seed)
        let fixture = try TableFixture(pages: 8192)
        var model = NaiveMap()
        for step in 0..<operations {
            let (start, length) = range(&random, base: base, bytes: bytes, isHuge: isHuge)
            let flags: PTEFlags = random.chance(15) ? .readOnly : []
            let kind = random.below(100)
            let context = "seed \(seed), step \(step), kind \(kind), \(start)+\(length)"
            if kind < 25 {
                fixture.unmap(start, bytes: length)
                model.unmap(start, start + length)
            } else if kind < 40 {
                try fixture.mapNull(start, bytes: length, flags)
                model.mapNull(start, start + length, flags)
            } else {
                let extents = extents(&random, start: start, length: length)
                try fixture.map(start, extents, flags)
                model.map(start, extents, flags)
            }
            let expected = model.expectedLeaves()
            #expect(fixture.leaves == expected, "\(context)")
            fixture.checkAccounting(context)
            for _ in 0..<40 {
                check(base + random.below(bytes), fixture, model, context)
            }
            for edge in [start, start + length - 1, start &- 1, start + length] {
                check(edge, fixture, model, context)
            }
        }
        fixture.unmap(base, bytes: bytes)
        #expect(fixture.pool.allocated == 1 && fixture.pool.reserved == 0, "seed \(seed)")
        fixture.table.destroy()
        #expect(fixture.pool.allocated == 0, "seed \(seed)")
    }

    /// A range on 4 KiB, 64 KiB, 2 MiB or 1 GiB boundaries, the coarser ones being as likely.
    private func range(
        _ random: inout SplitMix64, base: UInt64, bytes: UInt64, isHuge: Bool
    ) -> (UInt64, UInt64) {
        let units: [UInt64] =
            isHuge ? [4 * kiB, 2 * miB, 2 * miB, giB] : [4 * kiB, 64 * kiB, 2 * miB]
        let unit = units[Int(random.below(UInt64(units.count)))]
        let start = base + random.below(bytes / unit) * unit
        let most = min(base + bytes - start, unit == giB ? 3 * giB : unit * 40)
        return (start, (1 + random.below(most / unit)) * unit)
    }

    /// Mostly the frames that the addresses always have, so that merges happen; sometimes others,
    /// and sometimes cut to pieces, contiguous or not.
    private func extents(
        _ random: inout SplitMix64, start: UInt64, length: UInt64
    ) -> [PhysicalExtent] {
        var physical = start + 16 * giB
        if random.chance(35) {
            let unit = length > 8 * miB ? 2 * miB : random.chance(50) ? 64 * kiB : 4 * kiB
            physical = 2048 * giB + random.below(1 << 16) * unit
        }
        var extents: [PhysicalExtent] = []
        var left = length
        let cuts = random.chance(50)
        while left > 0 {
            var part = left
            if cuts && extents.count < 20 {
                part = (1 + random.below(left / frameSize)) * frameSize
                if length > 8 * miB { part = max(part / (2 * miB) * (2 * miB), min(left, 2 * miB)) }
            }
            extents.append(PhysicalExtent(address: physical, bytes: part))
            physical += part
            left -= part
            if random.chance(10) { physical += 32 * miB }
        }
        return extents
    }

    private func check(
        _ address: UInt64, _ fixture: TableFixture, _ model: NaiveMap, _ context: String
    ) {
        let segment = model.find(address)
        switch fixture.table.lookUp(address) {
        case .leaf(let leaf):
            #expect(segment != nil, "\(address): \(context)")
            #expect(leaf.flags == segment?.flags, "\(address): \(context)")
            let physical = leaf.isNull ? nil : leaf.physical + (address - leaf.address)
            let expected = segment.flatMap { found in
                found.physical.map { $0 + (address - found.start) }
            }
            #expect(physical == expected, "\(address): \(context)")
        case .fault(let reason):
            #expect(segment == nil, "\(address): \(reason), \(context)")
        }
    }
}
