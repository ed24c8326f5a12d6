import Fencing
import PageTables
import Synchronization
import TestSupport
import Testing

@Suite("Engines over a GP100 table")
struct GP100MMUTests {
    private static let memoryBase: PhysicalAddress = 0x10_0000_0000

    @Test("an MMU translates pages of each size, joins them, and caches until invalidated")
    func translate() throws {
        let memory = FakeMemory(base: Self.memoryBase, bytes: 64 * miB)
        let mmu = MMU(memory: memory)
        let fixture = try GP100Fixture(pages: 256)
        let space = AddressSpace(fixture.table)
        func physical(
            _ address: UInt64, _ length: UInt64 = 8, _ intent: AccessKind = .read
        ) -> [UInt64] {
            mmu.withAccess { access in
                switch access.translate(
                    space: space, address: address, length: length, intent: intent)
                {
                case .memory(let pointer, let bytes):
                    return [UInt64(pointer - memory.host), bytes]
                case .null(let bytes): return [.max, bytes]
                case .fault: return []
                }
            }
        }
        let high: UInt64 = 1 << 48
        // 2 MiB, then 64 KiB, then 4 KiB, all contiguous.
        try fixture.map(high, to: memory.base + 2 * miB, bytes: 2 * miB + 68 * kiB, kind: 0x06)
        #expect(fixture.sizes == [21: 1, 16: 1, 12: 1])
        #expect(physical(high + 0x123, 4 * miB) == [2 * miB + 0x123, 2 * miB + 68 * kiB - 0x123])
        #expect(physical(high + 2 * miB + 68 * kiB) == [])
        try fixture.mapNull(high + 4 * miB, bytes: miB)
        #expect(physical(high + 4 * miB + 1, miB, .write) == [.max, miB - 1])
        // A piece of the 2 MiB elsewhere, read only: stale until invalidated.
        try fixture.map(high + 64 * kiB, to: memory.base, bytes: 4096, .readOnly, kind: 0x07)
        #expect(physical(high + 64 * kiB) == [2 * miB + 64 * kiB, 8])
        mmu.invalidate(space: space.id, address: high + 64 * kiB, range: 4096)
        #expect(physical(high + 64 * kiB) == [0, 8])
        #expect(physical(high + 64 * kiB, 8, .write) == [])
        #expect(physical(high + 64 * kiB - 8, 16, .write) == [2 * miB + 64 * kiB - 8, 8])
        #expect(physical(1 << 49) == [])
        // Once more, out of the TLB.
        #expect(physical(high + 68 * kiB) == [2 * miB + 68 * kiB, 8])
        #expect(mmu.statistics.hits > 0)
    }

    /// Counts what the walkers saw.
    private final class Tally: Sendable {
        let stop = Atomic<Bool>(false)
        let looks = Atomic<Int>(0)
        let wrong = Atomic<Int>(0)
    }

    /// Walkers without an MMU's lock: the tables that a look-up reads are kept until they have gone.
    @Test(
        "splitting and joining under walkers never shows a hole or another page", arguments: [1, 2])
    func concurrent(seed: UInt64) throws {
        let pages: UInt64 = 1024
        let fixture = try GP100Fixture(pages: 4096)
        let table = fixture.table
        let base: UInt64 = 1 << 47 - 2 * miB
        let frames: [PhysicalAddress] = [8 * giB, 16 * giB, 24 * giB + 4096]
        try fixture.map(base, to: frames[0], bytes: pages * frameSize)
        let tally = Tally()
        let walkers = (0..<2 as Range<UInt64>).compactMap { walker in
            RuntimeThread.start(name: "walker") {
                var random = SplitMix64(seed: seed + walker)
                while !tally.stop.load(ordering: .relaxed) {
                    let page = random.below(pages)
                    var isRight = false
                    if case .leaf(let leaf) = table.lookUp(base + page * frameSize) {
                        let physical = leaf.physical + (base + page * frameSize - leaf.address)
                        isRight = frames.contains { $0 + page * frameSize == physical }
                    }
                    if !isRight { tally.wrong.wrappingAdd(1, ordering: .relaxed) }
                    tally.looks.wrappingAdd(1, ordering: .relaxed)
                }
            }
        }
        #expect(walkers.count == 2)
        var random = SplitMix64(seed: seed)
        var retired = RetiredTables()
        let deadline = Runtime.deadline(after: 20_000_000_000)
        var step = 0
        while step < 2000
            || (tally.looks.load(ordering: .relaxed) < 10_000 && Runtime.now() < deadline)
        {
            step += 1
            // Enough of one slot of 64 KiB that it often goes from one table to the other.
            let isSlot = random.chance(70)
            let first = isSlot ? 64 + random.below(16) : random.below(pages)
            let count = 1 + random.below(isSlot ? 80 - first : min(pages - first, 600))
            let area = frames[Int(random.below(3))]
            let needed = GP100PageTable.tablesNeeded(
                address: base + first * frameSize, range: count * frameSize)
            // Without room for what is kept from reuse, this ends early.
            guard fixture.pool.available >= needed + 64 else { break }
            var reservation = try fixture.pool.reserve(needed)
            table.map(
                base + first * frameSize,
                extents: [
                    PhysicalExtent(address: area + first * frameSize, bytes: count * frameSize)
                ], using: &reservation, retiring: &retired)
        }
        tally.stop.store(true, ordering: .relaxed)
        for walker in walkers { walker.join() }
        fixture.pool.release(&retired)
        #expect(tally.wrong.load(ordering: .relaxed) == 0, "seed \(seed), \(step) steps")
        #expect(tally.looks.load(ordering: .relaxed) > 0 && step > 500, "seed \(seed)")
        fixture.checkAccounting("seed \(seed)")
    }
}
