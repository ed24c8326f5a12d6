import Fencing
import PageTables
import Synchronization
import TestSupport
import Testing

/// Engines walk while a writer works: what they read must be what some moment's table said.
@Suite("Concurrent walkers")
struct ConcurrencyTests {
    /// Counts what the walkers saw.
    private final class Tally: Sendable {
        let stop = Atomic<Bool>(false)
        let looks = Atomic<Int>(0)
        let faults = Atomic<Int>(0)
        let wrong = Atomic<Int>(0)
    }

    private static let pages: UInt64 = 1024

    /// Two areas of 4 MiB; frame p of each begins with the number p.
    private static func makeMemory() -> FakeMemory {
        let memory = FakeMemory(base: 0x10_0000_0000, bytes: 8 * miB)
        for area in 0..<2 as Range<UInt64> {
            for page in 0..<pages { memory.setWord(frame(memory, area, page), page) }
        }
        return memory
    }

    private static func frame(_ memory: FakeMemory, _ area: UInt64, _ page: UInt64) -> UInt64 {
        memory.base + area * 4 * miB + page * frameSize
    }

    private static func startWalker(
        _ mmu: MMU, _ space: AddressSpace, base: UInt64, seed: UInt64, _ tally: Tally
    ) -> RuntimeThread? {
        RuntimeThread.start(name: "walker") {
            var random = SplitMix64(seed: seed)
            while !tally.stop.load(ordering: .relaxed) {
                let page = random.below(pages)
                tally.looks.wrappingAdd(1, ordering: .relaxed)
                mmu.withAccess { access in
                    let outcome = access.translate(
                        space: space, address: base + page * frameSize, length: 2 * frameSize,
                        intent: .read)
                    switch outcome {
                    case .memory(let pointer, let bytes):
                        if pointer.load(as: UInt64.self) != page {
                            tally.wrong.wrappingAdd(1, ordering: .relaxed)
                        }
                        if bytes == 2 * frameSize,
                            (pointer + 4096).load(as: UInt64.self) != page + 1
                        {
                            tally.wrong.wrappingAdd(1, ordering: .relaxed)
                        }
                    case .null:
                        tally.wrong.wrappingAdd(1, ordering: .relaxed)
                    case .fault(let fault):
                        if case .notMapped = fault.reason {
                            tally.faults.wrappingAdd(1, ordering: .relaxed)
                        } else {
                            tally.wrong.wrappingAdd(1, ordering: .relaxed)
                        }
                    }
                }
            }
        }
    }

    private func run(
        seed: UInt64, iterations: Int,
        _ body: (TableFixture, FakeMemory, UInt64, inout SplitMix64) throws -> Void
    ) throws -> Tally {
        let memory = Self.makeMemory()
        let fixture = try TableFixture(pages: 16)
        let base = giB - 2 * miB
        let space = AddressSpace(fixture.table)
        let mmus = [MMU(memory: memory, tlbEntries: 1024), MMU(memory: memory, tlbEntries: 8)]
        let domain = InvalidationDomain(mmus)
        fixture.invalidate = { domain.invalidate(space: space.id, address: $0, range: $1) }
        var random = SplitMix64(seed: seed)
        try fixture.map(base, to: Self.frame(memory, 0, 0), bytes: 4 * miB)
        let tally = Tally()
        let walkers = mmus.enumerated().compactMap { index, mmu in
            Self.startWalker(mmu, space, base: base, seed: seed + UInt64(index), tally)
        }
        #expect(walkers.count == 2)
        defer {
            tally.stop.store(true, ordering: .relaxed)
            for walker in walkers { walker.join() }
            space.close()
            domain.invalidateAll(space: space.id)
            fixture.table.destroy()
            #expect(fixture.pool.allocated == 0 && fixture.pool.reserved == 0)
        }
        var step = 0
        // A busy machine may start the walkers late; they must have worked for the test to count.
        let deadline = Runtime.deadline(after: 20_000_000_000)
        while step < iterations
            || (tally.looks.load(ordering: .relaxed) < 1000 && Runtime.now() < deadline)
        {
            try body(fixture, memory, base, &random)
            step += 1
        }
        #expect(tally.looks.load(ordering: .relaxed) >= 1000, "the walkers did not run")
        return tally
    }

    @Test("replacing, splitting and merging under walkers never shows a hole", arguments: [1, 2])
    func replace(seed: UInt64) throws {
        let tally = try run(seed: seed, iterations: 400) { fixture, memory, base, random in
            let first = random.below(Self.pages)
            let count = 1 + random.below(min(Self.pages - first, 600))
            let area = random.below(2)
            try fixture.map(
                base + first * frameSize, to: Self.frame(memory, area, first),
                bytes: count * frameSize)
            if random.chance(30) {
                try fixture.map(base, to: Self.frame(memory, area, 0), bytes: 4 * miB)
            }
        }
        #expect(tally.wrong.load(ordering: .relaxed) == 0, "seed \(seed)")
        #expect(tally.faults.load(ordering: .relaxed) == 0, "seed \(seed)")
    }

    @Test("an invalidated frame or table is out of every walker's sight", arguments: [3, 4])
    func unmap(seed: UInt64) throws {
        let tally = try run(seed: seed, iterations: 400) { fixture, memory, base, random in
            let first = random.below(Self.pages)
            let count = 1 + random.below(min(Self.pages - first, 600))
            let isAll = random.chance(20)
            let pages = isAll ? 0..<Self.pages : first..<(first + count)
            let address = base + pages.lowerBound * frameSize
            let bytes = UInt64(pages.count) * frameSize
            fixture.unmap(address, bytes: bytes)
            // The frames are free now: plain writes that no walker may see.
            for page in pages { memory.setWord(Self.frame(memory, 0, page), .max) }
            for page in pages { memory.setWord(Self.frame(memory, 0, page), page) }
            try fixture.map(address, to: Self.frame(memory, 0, pages.lowerBound), bytes: bytes)
        }
        #expect(tally.wrong.load(ordering: .relaxed) == 0, "seed \(seed)")
    }
}
