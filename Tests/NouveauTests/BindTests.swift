import Device
import Glibc
import TestSupport
import Testing

@Suite("nouveau: VM_BIND")
struct BindTests {
    private static let page: UInt64 = 4096
    private static let base: UInt64 = 0x20_0000

    private struct Setup {
        let fixture: NouveauFixture
        let file: TestFile
        let buffer: UInt32
        let vm: DeviceVM

        init() throws {
            fixture = try NouveauFixture()
            file = fixture.open()
            try file.vmInit()
            buffer = try file.gemNew(64 << 10).handle
            vm = try #require(file.file.client.allVMs.first?.vm)
        }

        /// The VM's mappings, without the kernel's part.
        var mappings: [MappingInfo] {
            vm.mappings(from: 0, limit: 1000).filter { !$0.flags.contains(.reserved) }
        }

        /// Whether the page table has a null entry there.
        func isNull(_ address: UInt64) -> Bool {
            guard let walk = vm.walk(address), case .leaf(let leaf) = walk.result else {
                return false
            }
            return leaf.isNull
        }
    }

    @Test("Every number that is wrong is EINVAL, and nothing is mapped")
    func invalid() throws {
        let setup = try Setup()
        let (file, buffer) = (setup.file, setup.buffer)
        let (base, page) = (Self.base, Self.page)
        let wrong: [BindOp] = [
            .map(buffer, at: base + 1, page), .map(buffer, at: base, page + 1),
            .map(buffer, at: base, page, offset: 1), .map(buffer, at: base, 0),
            .map(buffer, at: base, 65536 + page), .map(buffer, at: base, page, offset: 65536),
            .map(buffer, at: base, 2 * page, offset: 65536 - page),
            .map(buffer, at: 1 << 40, page), .map(buffer, at: (1 << 40) - page, 2 * page),
            .map(buffer, at: 1 << 39, page), .map(buffer, at: (1 << 39) - page, 2 * page),
            .map(buffer, at: 0 &- page, page), .map(buffer, at: 0 &- page, 2 * page),
            .map(buffer, at: base, page, kind: 7), .map(buffer, at: base, page, kind: 16),
            .unmap(base + 1, page), .unmap(base, 0), .unmap(1 << 40, page),
            .unmap(1 << 39, page), .unmap(base, .max - page + 1),
            .mapSparse(base, page + 1), .mapSparse(1 << 39, page), .mapSparse(base, 0),
            .unmapSparse(1 << 40, page),
            BindOp(op: 2, address: base, range: page),
        ]
        for operation in wrong {
            #expect(try file.bind([operation]) == EINVAL, "\(operation)")
            // Behind one that is right: all or nothing.
            let both = [BindOp.map(buffer, at: base + 0x10000, page), operation]
            #expect(try file.bind(both) == EINVAL, "\(operation)")
        }
        #expect(try file.bind([.map(99, at: base, page)]) == ENOENT)
        #expect(setup.mappings.isEmpty)
        #expect(try file.bind([]) == 0)
        #expect(try file.bind([], asynchronous: true) == 0)
        // The array is announced, and is not there.
        #expect(try file.errno(Request.vmBind, Bytes(40).put(0, UInt32(1))) == EFAULT)
    }

    @Test("The last page below the kernel's part can be mapped; PTE kinds are kept")
    func edges() throws {
        let setup = try Setup()
        let last = (UInt64(1) << 39) - Self.page
        #expect(
            try setup.file.bind([
                .map(setup.buffer, at: last, Self.page, kind: 6),
                .map(setup.buffer, at: 0, 3 * Self.page, offset: Self.page, kind: 1),
                .unmap(Self.page, Self.page),
            ]) == 0)
        let mappings = setup.mappings
        #expect(mappings.map(\.address) == [0, 2 * Self.page, last])
        #expect(mappings.map(\.offset) == [Self.page, 3 * Self.page, 0])
        #expect(mappings.map(\.pteKind) == [1, 1, 6], "a split keeps the kind")
    }

    @Test("Sync objects: asynchronous binds only, and only what was submitted")
    func syncs() throws {
        let setup = try Setup()
        let file = setup.file
        let operation = BindOp.map(setup.buffer, at: Self.base, Self.page)
        let (timeline, empty) = (try file.syncobjCreate(), try file.syncobjCreate())
        #expect(try file.bind([operation], signals: [.timeline(timeline, 1)]) == EINVAL)
        #expect(try file.bind([operation], waits: [Sync(handle: empty)]) == EINVAL)
        func async(_ waits: [Sync], _ signals: [Sync]) throws -> Int32 {
            try file.bind([operation], asynchronous: true, waits: waits, signals: signals)
        }
        #expect(try async([Sync(handle: empty)], []) == EINVAL)
        #expect(try async([.timeline(timeline, 1)], []) == EINVAL)
        #expect(try async([Sync(handle: 99)], []) == ENOENT)
        #expect(try async([], [Sync(handle: 99)]) == ENOENT)
        #expect(try async([Sync(handle: empty, flags: 2)], []) == EOPNOTSUPP)
        #expect(try async([], [Sync(handle: empty, flags: 2)]) == EINVAL)
        #expect(setup.mappings.isEmpty)
        #expect(try file.query(timeline, flags: 1) == 0, "a refused bind signals nothing")

        // A chain: each waits for the one before it.
        #expect(try async([], [.timeline(timeline, 1)]) == 0)
        #expect(try async([.timeline(timeline, 1)], [.timeline(timeline, 2)]) == 0)
        #expect(
            try async(
                [.timeline(timeline, 2)], [.timeline(timeline, 3), Sync(handle: empty)]) == 0)
        #expect(try file.timelineWait([(timeline, 3)]) == 0)
        #expect(try file.wait([empty]) == 0)
        #expect(setup.mappings.count == 1)
    }

    @Test("Sparse regions: made, mapped in, removed as they were made")
    func sparse() throws {
        let setup = try Setup()
        let (file, buffer) = (setup.file, setup.buffer)
        let (base, page) = (Self.base, Self.page)
        #expect(try file.bind([.mapSparse(base, 16 * page)]) == 0)
        // Overlaps of any kind.
        for (address, range) in [
            (base, 16 * page), (base + page, page), (base - page, 2 * page),
            (base + 15 * page, 2 * page), (base - page, 32 * page),
        ] {
            #expect(try file.bind([.mapSparse(address, range)]) == ENOSPC)
        }
        // Only the whole region can be removed.
        for (address, range) in [
            (base, 15 * page), (base + page, 15 * page), (base, 17 * page),
            (base + 64 * page, 16 * page),
        ] {
            #expect(try file.bind([.unmapSparse(address, range)]) == ENOENT)
        }
        // Maps lie inside or outside, not across.
        #expect(try file.bind([.map(buffer, at: base - page, 2 * page)]) == ENOSPC)
        #expect(try file.bind([.map(buffer, at: base + 15 * page, 2 * page)]) == ENOSPC)
        #expect(
            try file.bind([
                .map(buffer, at: base + 15 * page, page), .map(buffer, at: base + 16 * page, page),
            ]) == 0)
        #expect(setup.mappings.count == 2)
        // An unmap may cross the bounds; the region stays.
        #expect(try file.bind([.unmap(base, 32 * page)]) == 0)
        #expect(setup.mappings.isEmpty)
        #expect(setup.isNull(base) && setup.isNull(base + 15 * page))
        #expect(!setup.isNull(base + 16 * page) && !setup.isNull(base - page))
        // Removing it takes what is mapped in it along.
        #expect(try file.bind([.map(buffer, at: base, 4 * page)]) == 0)
        #expect(try file.bind([.unmapSparse(base, 16 * page)]) == 0)
        #expect(setup.mappings.isEmpty)
        #expect(!setup.isNull(base) && !setup.isNull(base + 15 * page))
        #expect(try file.bind([.unmapSparse(base, 16 * page)]) == ENOENT)
        #expect(try file.bind([.mapSparse(base, 16 * page)]) == 0)
    }

    @Test("One request does not remove a region and use its range again")
    func sparseInOneRequest() throws {
        let setup = try Setup()
        let (file, buffer) = (setup.file, setup.buffer)
        let (base, page) = (Self.base, Self.page)
        #expect(try file.bind([.mapSparse(base, 4 * page)]) == 0)
        #expect(
            try file.bind([.unmapSparse(base, 4 * page), .mapSparse(base, 4 * page)]) == ENOSPC)
        #expect(
            try file.bind([.unmapSparse(base, 4 * page), .map(buffer, at: base, page)])
                == EINVAL)
        #expect(
            try file.bind([
                .mapSparse(base + 8 * page, 4 * page), .mapSparse(base + 10 * page, 4 * page),
            ]) == EEXIST)
        // Rolled back: the first region is there, the second is not.
        #expect(setup.isNull(base) && !setup.isNull(base + 8 * page))
        #expect(try file.bind([.unmapSparse(base + 8 * page, 4 * page)]) == ENOENT)
        #expect(
            try file.bind([
                .mapSparse(base + 8 * page, 4 * page), .map(buffer, at: base + 9 * page, page),
                .unmapSparse(base, 4 * page),
            ]) == 0)
        #expect(setup.isNull(base + 8 * page) && !setup.isNull(base + 9 * page))
        #expect(setup.isNull(base + 10 * page) && !setup.isNull(base))
    }

    @Test("A region made over mappings shows in the gaps")
    func sparseOverMappings() throws {
        let setup = try Setup()
        let (base, page) = (Self.base, Self.page)
        #expect(try setup.file.bind([.map(setup.buffer, at: base + page, page)]) == 0)
        #expect(try setup.file.bind([.mapSparse(base, 3 * page)]) == 0)
        #expect(setup.isNull(base) && !setup.isNull(base + page))
        #expect(setup.isNull(base + 2 * page))
        #expect(try setup.file.bind([.unmap(base + page, page)]) == 0)
        #expect(setup.isNull(base + page))
    }

    @Test("Shuffled binds in a large region leave what a page map says")
    func shuffledSparse() throws {
        let setup = try Setup()
        let (file, buffer) = (setup.file, setup.buffer)
        let pages = 2048
        let seed: UInt64 = 0x5eed_4001
        var random = SplitMix64(seed: seed)
        #expect(try file.bind([.mapSparse(Self.base, UInt64(pages) * Self.page)]) == 0)
        var model = [UInt64?](repeating: nil, count: pages)
        for _ in 0..<60 {
            var operations: [BindOp] = []
            for _ in 0..<16 {
                let count = Int(random.next() % 12) + 1
                let first = Int(random.next() % UInt64(pages - count + 1))
                let address = Self.base + UInt64(first) * Self.page
                let range = UInt64(count) * Self.page
                if random.next() % 3 == 0 {
                    operations.append(.unmap(address, range))
                    for page in first..<first + count { model[page] = nil }
                } else {
                    let offset = random.next() % UInt64(16 - count + 1) * Self.page
                    operations.append(.map(buffer, at: address, range, offset: offset))
                    for page in 0..<count {
                        model[first + page] = offset + UInt64(page) * Self.page
                    }
                }
            }
            #expect(try file.bind(operations) == 0)
        }
        var seen = [UInt64?](repeating: nil, count: pages)
        for mapping in setup.vm.mappings(from: 0, limit: 10_000)
        where !mapping.flags.contains(.reserved) {
            for step in stride(from: 0, to: mapping.range, by: 4096) {
                seen[Int((mapping.address + step - Self.base) / 4096)] = mapping.offset + step
            }
        }
        #expect(seen == model, "seed 0x\(String(seed, radix: 16))")
        for page in 0..<pages {
            let isNull = setup.isNull(Self.base + UInt64(page) * Self.page)
            #expect(isNull == (model[page] == nil), "page \(page), seed \(seed)")
        }
        #expect(try file.bind([.unmapSparse(Self.base, UInt64(pages) * Self.page)]) == 0)
        #expect(setup.mappings.isEmpty)
        #expect(!setup.isNull(Self.base))
    }
}
