import Device
import Glibc
import Memory
import PageTables
import TestSupport
import Testing

extension GP100Decoder {
    /// Decodes the tables of a VM out of the device's memory.
    init(_ vm: DeviceVM, _ device: Device) {
        let memory = device.memory
        self.init(root: vm.addressSpace.rootAddress, vramBase: PhysicalMemoryMap.vramBase) {
            guard let host = memory.resolve($0, limit: 8) else { return 0xdead }
            return host.pointer.load(as: UInt64.self)
        }
    }
}

/// What VM_BIND leaves in the executed state, read as NVIDIA's documentation says.
@Suite("nouveau: page tables")
struct PageTableTests {
    private static let page: UInt64 = 4096
    private static let region: UInt64 = 0x40_0000_0000

    @Test("The low byte of an operation's flags is KIND", arguments: NouveauModel.all.map(\.key))
    func kind(model key: String) throws {
        let model = try #require(NouveauModel.all.first { $0.key == key })
        let fixture = try NouveauFixture(model: model)
        let file = fixture.open()
        try file.vmInit()
        let video = try file.gemNew(2 << 20, domain: 0x26).handle
        let host = try file.gemNew(64 << 10, domain: 0x2c).handle
        #expect(
            try file.bind([
                .map(video, at: 0x20_0000, 2 << 20, kind: 6),
                .map(video, at: 0x80_0000, 64 << 10, offset: 64 << 10),
                .map(host, at: 0xa0_1000, Self.page, offset: Self.page, kind: 1),
            ]) == 0)
        let vm = try #require(file.file.client.allVMs.first?.vm)
        let decoder = GP100Decoder(vm, fixture.device)
        guard case .page(let large) = decoder.translate(0x20_0000),
            case .page(let part) = decoder.translate(0x80_1234),
            case .page(let small) = decoder.translate(0xa0_1000)
        else {
            Issue.record("no pages")
            return
        }
        #expect(large.kind == 6 && large.shift == 21 && large.physical >= 1 << 44)
        #expect(part.kind == 0 && part.shift == 16)
        #expect(part.physical == large.physical + (64 << 10) + 0x1234)
        #expect(small.kind == 1 && small.shift == 12 && small.physical < 1 << 44)
        #expect(!large.isReadOnly && !small.isReadOnly)
        #expect(decoder.translate(0xa0_0000) == .hole)
        // Bound again with another kind, in part.
        #expect(
            try file.bind([.map(video, at: 0x21_0000, 64 << 10, offset: 64 << 10, kind: 0x0a)])
                == 0)
        let addresses: [UInt64] = [0x20_f000, 0x21_0000, 0x21_f000, 0x22_0000]
        let kinds = addresses.map { address -> UInt8? in
            guard case .page(let page) = decoder.translate(address) else { return nil }
            return page.kind
        }
        #expect(kinds == [6, 0x0a, 0x0a, 6])
    }

    @Test("Sparse regions of every size: VOL alone, at the highest level; a hole after them")
    func sparse() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        try file.vmInit()
        let vm = try #require(file.file.client.allVMs.first?.vm)
        let decoder = GP100Decoder(vm, fixture.device)
        // 2 GiB and a page, from the middle of a 2 MiB span on.
        let start = Self.region + 0x10_0000
        let range: UInt64 = 2 << 30 | Self.page
        #expect(try file.bind([.mapSparse(start, range)]) == 0)
        #expect(decoder.translate(start - Self.page) == .hole)
        #expect(decoder.translate(start) == .sparse(shift: 16))
        #expect(decoder.translate(Self.region + 0x20_0000) == .sparse(shift: 21))
        #expect(decoder.translate(Self.region + (1 << 30)) == .sparse(shift: 29))
        #expect(decoder.translate(start + range - Self.page) == .sparse(shift: 12))
        #expect(decoder.translate(start + range) == .hole)
        // 64 GiB with 16 MiB of page tables in the device.
        #expect(try file.bind([.mapSparse(0x50_0000_0000, 64 << 30)]) == 0)
        #expect(decoder.translate(0x5f_ffff_f000) == .sparse(shift: 29))

        let buffer = try file.gemNew(256 << 10).handle
        let inside = Self.region + (1 << 30) + 0x3000
        #expect(try file.bind([.map(buffer, at: inside, Self.page, kind: 2)]) == 0)
        guard case .page(let page) = decoder.translate(inside) else {
            Issue.record("no page in the region")
            return
        }
        #expect(page.kind == 2 && page.shift == 12)
        #expect(decoder.translate(inside + Self.page) == .sparse(shift: 12))
        #expect(try file.bind([.unmap(inside, Self.page)]) == 0)
        #expect(decoder.translate(inside) == .sparse(shift: 21))
        #expect(try file.bind([.unmapSparse(start, range)]) == 0)
        for address in [start, inside, Self.region + (1 << 30), start + range - Self.page] {
            #expect(decoder.translate(address) == .hole)
        }
    }

    @Test("Engines read zero and drop writes in a region of 64 GiB, in front of and behind memory")
    func engines() throws {
        let setup = try ExecSetup()
        let file = setup.file
        #expect(try file.bind([.mapSparse(Self.region, 64 << 30)]) == 0)
        let middle = Self.region + (33 << 30)
        #expect(try file.bind([.map(setup.sourceHandle, at: middle, 0x2000)]) == 0)
        func copy(_ source: UInt64, _ target: UInt64, _ bytes: UInt32, point: UInt64) throws {
            let pushes = setup.write { $0.copy(from: source, to: target, bytes: bytes) }
            #expect(
                try file.exec(
                    setup.channel, pushes, signals: [.timeline(setup.timeline, point)]) == 0)
            #expect(try file.timelineWait([(setup.timeline, point)]) == 0)
        }
        setup.target.fill(0xee)
        try copy(middle - 0x1000, ExecSetup.targetVA, 0x4000, point: 1)
        #expect(setup.target.bytes[0..<0x1000].allSatisfy { $0 == 0 })
        #expect(
            setup.target.bytes[0x1000..<0x3000].elementsEqual(setup.source.bytes[0..<0x2000]))
        #expect(setup.target.bytes[0x3000..<0x4000].allSatisfy { $0 == 0 })
        // A write over both: only the memory keeps it.
        setup.target.fill(0x5a)
        try copy(ExecSetup.targetVA, middle - 0x1000, 0x4000, point: 2)
        #expect(setup.source.bytes[0..<0x2000].allSatisfy { $0 == 0x5a })
        try copy(middle - 0x1000, ExecSetup.targetVA, 0x1000, point: 3)
        #expect(setup.target.bytes[0..<0x1000].allSatisfy { $0 == 0 })
        #expect(try file.bind([.unmap(middle, 0x2000)]) == 0)
        try copy(middle, ExecSetup.targetVA, 0x2000, point: 4)
        #expect(setup.target.bytes[0..<0x2000].allSatisfy { $0 == 0 }, "a stale TLB entry")
        #expect(try file.exec(setup.channel, []) == 0)
    }

    @Test("Shuffled binds in a large region leave what a page map says", arguments: [1, 2, 3])
    func shuffled(seed: UInt64) throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        try file.vmInit()
        let vm = try #require(file.file.client.allVMs.first?.vm)
        let decoder = GP100Decoder(vm, fixture.device)
        let buffer = try file.gemNew(4 << 20, domain: 0x26).handle
        // Where the buffer is: mapped once outside.
        #expect(try file.bind([.map(buffer, at: 0x20_0000, 4 << 20)]) == 0)
        guard case .page(let first) = decoder.translate(0x20_0000) else {
            Issue.record("not mapped")
            return
        }
        let pages = 4096
        #expect(try file.bind([.mapSparse(Self.region, 1 << 30)]) == 0)
        var model = [(offset: UInt64, kind: UInt8)?](repeating: nil, count: pages)
        var random = SplitMix64(seed: seed)
        for _ in 0..<40 {
            var operations: [BindOp] = []
            for _ in 0..<12 {
                let unit = [1, 16, 512][Int(random.next() % 3)]
                let count = min(unit * Int(random.next() % 3 + 1), 1024)
                let start = Int(random.next() % UInt64((pages - count) / unit + 1)) * unit
                let address = Self.region + UInt64(start) * Self.page
                let range = UInt64(count) * Self.page
                if random.next() % 3 == 0 {
                    operations.append(.unmap(address, range))
                    for page in start..<start + count { model[page] = nil }
                    continue
                }
                let offset = random.next() % UInt64((1024 - count) / unit + 1)
                let kind = UInt8(random.next() % 2 * 6)
                operations.append(
                    .map(
                        buffer, at: address, range, offset: offset * UInt64(unit) * Self.page,
                        kind: UInt32(kind)))
                for page in 0..<count {
                    model[start + page] = (
                        offset * UInt64(unit) * Self.page + UInt64(page) * Self.page, kind
                    )
                }
            }
            #expect(try file.bind(operations) == 0)
        }
        var wrong = 0
        for (index, expected) in model.enumerated() {
            switch (decoder.translate(Self.region + UInt64(index) * Self.page), expected) {
            case (.sparse, nil): break
            case (.page(let page), let there?):
                let isRight =
                    page.physical == first.physical + there.offset && page.kind == there.kind
                if !isRight { wrong += 1 }
            default: wrong += 1
            }
        }
        #expect(wrong == 0, "seed \(seed)")
        #expect(try file.bind([.unmapSparse(Self.region, 1 << 30)]) == 0)
        #expect(decoder.translate(Self.region) == .hole)
    }
}
