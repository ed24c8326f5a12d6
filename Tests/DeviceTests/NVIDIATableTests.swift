import Engines
import Fencing
import Glibc
import Memory
import PageTables
import TestSupport
import Testing
import WireProtocol

@testable import Device

extension GP100Decoder {
    /// Decodes the tables of a VM out of the device's memory.
    init(_ vm: DeviceVM) {
        let memory = vm.device.memory
        self.init(root: vm.addressSpace.rootAddress, vramBase: 1 << 44) { address in
            guard let host = memory.resolve(address, limit: 8) else { return 0xdead }
            return host.pointer.load(as: UInt64.self)
        }
    }
}

/// VMs whose page tables are NVIDIA's: what jobs, evictions and modes do to the bytes.
@Suite("VMs with NVIDIA's page tables")
struct NVIDIATableTests {
    private static let page: UInt64 = 4096

    private func makeVM(
        _ fixture: DeviceFixture, _ flags: DeviceVM.Flags = [], format: TableFormat = .gp100
    ) throws -> (handle: UInt32, vm: DeviceVM) {
        try fixture.client.createVM(
            name: "vm", start: 0, range: 1 << 40, flags: flags, format: format)
    }

    private func map(
        _ buffer: TestBuffer, at address: UInt64, _ range: UInt64, offset: UInt64 = 0,
        kind: UInt8 = 0, readOnly: Bool = false
    ) -> BindOperation {
        var operation = BindOperation(
            .map, address: address, range: range, buffer: buffer.object, offset: offset,
            readOnly: readOnly)
        operation.pteKind = kind
        return operation
    }

    private func physical(_ buffer: TestBuffer, _ offset: UInt64) throws -> UInt64 {
        var extents: [PhysicalExtent] = []
        try #require(buffer.object.frames)
            .append(offset: offset, length: Self.page, to: &extents)
        return extents[0].address
    }

    @Test(
        "Kind, flags, aperture and page size arrive in the entry",
        arguments: [[], .immediateMode] as [DeviceVM.Flags])
    func entries(flags: DeviceVM.Flags) throws {
        let fixture = try DeviceFixture()
        let (handle, vm) = try makeVM(fixture, flags)
        let video = try fixture.makeBuffer(4 << 20)
        let host = try fixture.makeBuffer(1 << 20, .system)
        try fixture.bind(
            handle,
            [
                map(video, at: 0x4000_0000, 4 << 20, kind: 6),
                map(host, at: 0x8000_0000, 1 << 20, kind: 1, readOnly: true),
                map(video, at: 0xc000_1000, Self.page, offset: 0x3000, kind: 0x0e),
            ])
        let decoder = GP100Decoder(vm)
        func expect(
            _ address: UInt64, _ buffer: TestBuffer, _ offset: UInt64, shift: Int, kind: UInt8,
            readOnly: Bool = false
        ) throws {
            #expect(
                decoder.translate(address)
                    == .page(
                        .init(
                            shift: shift, physical: try physical(buffer, offset), kind: kind,
                            isReadOnly: readOnly)), "\(String(address, radix: 16))")
        }
        // The allocator aligns a buffer to its size.
        try expect(0x4000_0000, video, 0, shift: 21, kind: 6)
        try expect(0x403f_f000, video, 0x3f_f000, shift: 21, kind: 6)
        try expect(0x800f_f000, host, 0xf_f000, shift: 16, kind: 1, readOnly: true)
        try expect(0xc000_1000, video, 0x3000, shift: 12, kind: 0x0e)
        #expect(decoder.translate(0xc000_2000) == .hole)
        // A cut keeps the kind of what stays.
        try fixture.bind(
            handle, [BindOperation(.unmap, address: 0x4010_0000, range: 0x1_0000)])
        try expect(0x400f_f000, video, 0xf_f000, shift: 16, kind: 6)
        #expect(decoder.translate(0x4010_0000) == .hole)
        try expect(0x4011_0000, video, 0x11_0000, shift: 16, kind: 6)
        try expect(0x4020_0000, video, 0x20_0000, shift: 21, kind: 6)
    }

    @Test(
        "An eviction clears the entries, a return writes them with their kind",
        arguments: [[], .immediateMode, .weakReferences] as [DeviceVM.Flags])
    func eviction(flags: DeviceVM.Flags) throws {
        let fixture = try DeviceFixture { $0.vramBytes = 4 << 20 }
        let (handle, vm) = try makeVM(fixture, flags)
        let (otherHandle, _) = try makeVM(fixture, flags)
        let (one, two) = (try fixture.makeBuffer(3 << 20), try fixture.makeBuffer(64 << 10))
        let batch = try fixture.makeBuffer(4096, .system)
        var writer = CommandWriter()
        writer.fill(0x20_0000, bytes: 256, pattern: 7)
        writer.end()
        batch.write(writer.dwords)
        try fixture.bind(
            handle,
            [map(one, at: 0x20_0000, 3 << 20, kind: 6), map(batch, at: 1 << 39, Self.page)])
        let queue = try fixture.client.createQueue(vm: handle, engineClass: .copy)
        let decoder = GP100Decoder(vm)
        let before = decoder.translate(0x20_0000)
        #expect(before == .page(.init(shift: 21, physical: try physical(one, 0), kind: 6)))
        // Something else needs the room.
        try fixture.bind(otherHandle, [map(two, at: 0, 64 << 10)])
        let large = try fixture.makeBuffer(2 << 20)
        try #require(one.object.isEvicted)
        // Its entries go when its move is done.
        for fence in one.object.reservation.fences(.kernel) {
            try #require(fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        }
        #expect(decoder.translate(0x20_0000) == .hole)
        #expect(decoder.translate(0x4f_f000) == .hole)
        try fixture.client.closeBuffer(large.handle)
        #expect(try fixture.execute(queue, batch, at: 1 << 39, writer) == 0)
        #expect(
            decoder.translate(0x4f_f000)
                == .page(.init(shift: 16, physical: try physical(one, 0x2f_f000), kind: 6)))
        #expect(one.bytes.load(as: UInt32.self) == 7)
    }

    @Test("A sparse region of half a terabyte takes a handful of tables and comes back to nothing")
    func largeRegion() throws {
        let fixture = try DeviceFixture { $0.quotas.tablePages = 64 }
        let (handle, vm) = try makeVM(fixture)
        let buffer = try fixture.makeBuffer(64 << 10)
        let start: UInt64 = 0x1234_5000
        let range: UInt64 = 512 << 30
        let idle = fixture.device.tablePool.allocated
        try fixture.bind(handle, [BindOperation(.createSparse, address: start, range: range)])
        let decoder = GP100Decoder(vm)
        #expect(decoder.translate(start) == .sparse(shift: 12))
        #expect(decoder.translate(start - Self.page) == .hole)
        #expect(decoder.translate(256 << 30) == .sparse(shift: 38))
        #expect(decoder.translate(start + range - Self.page) == .sparse(shift: 12))
        #expect(decoder.translate(start + range) == .hole)
        #expect(fixture.device.tablePool.allocated - idle <= 10)
        // In the middle of a 256 GiB entry, and gone again.
        let middle: UInt64 = 300 << 30
        try fixture.bind(handle, [map(buffer, at: middle, 64 << 10, kind: 3)])
        #expect(
            decoder.translate(middle)
                == .page(.init(shift: 16, physical: try physical(buffer, 0), kind: 3)))
        #expect(decoder.translate(middle + 0x1_0000) == .sparse(shift: 16))
        #expect(decoder.translate(middle + 0x20_0000) == .sparse(shift: 21))
        #expect(decoder.translate(middle + (1 << 30)) == .sparse(shift: 29))
        try fixture.bind(handle, [BindOperation(.unmap, address: middle, range: 64 << 10)])
        #expect(decoder.translate(middle) == .sparse(shift: 21))
        try fixture.bind(handle, [BindOperation(.removeSparse, address: start, range: range)])
        for address in [start, middle, 256 << 30, start + range - Self.page] {
            #expect(decoder.translate(address) == .hole)
        }
        #expect(fixture.device.tablePool.allocated == idle)
        #expect(fixture.device.tablePool.reserved == 0)
    }

    @Test("Regions that share 2 MiB are removed one by one, however full the page tables are")
    func neighbours() throws {
        let fixture = try DeviceFixture()
        let (handle, vm) = try makeVM(fixture)
        let half: UInt64 = 1 << 20
        for index in 0..<2 as Range<UInt64> {
            try fixture.bind(
                handle,
                [BindOperation(.createSparse, address: 0x4000_0000 + index * half, range: half)])
        }
        let decoder = GP100Decoder(vm)
        #expect(decoder.translate(0x4000_0000) == .sparse(shift: 16), "not joined")
        let rest = try fixture.device.tablePool.reserve(fixture.device.tablePool.available)
        try fixture.bind(
            handle, [BindOperation(.removeSparse, address: 0x4000_0000, range: half)])
        #expect(decoder.translate(0x4000_0000) == .hole)
        #expect(decoder.translate(0x400f_f000) == .hole)
        #expect(decoder.translate(0x4010_0000) == .sparse(shift: 16))
        #expect(decoder.translate(0x401f_f000) == .sparse(shift: 16))
        try fixture.bind(
            handle, [BindOperation(.removeSparse, address: 0x4010_0000, range: half)])
        #expect(decoder.translate(0x4010_0000) == .hole)
        _ = consume rest
        #expect(vm.table.heldPages == 1)
    }

    @Test("What is mapped in a region can be unmapped, however full the page tables are")
    func fullTables() throws {
        let fixture = try DeviceFixture(tables: 64 << 12)
        let (handle, vm) = try makeVM(fixture)
        let buffer = try fixture.makeBuffer(4 << 20)
        try fixture.bind(handle, [BindOperation(.createSparse, address: 0, range: 64 << 30)])
        try fixture.bind(
            handle,
            [
                map(buffer, at: 0x1000, 0x3000), map(buffer, at: 0x20_0000, 2 << 20),
                map(buffer, at: 0x40_0000, 64 << 10, offset: 64 << 10),
            ])
        let rest = try fixture.device.tablePool.reserve(fixture.device.tablePool.available)
        for (address, range) in [
            (0x2000, 0x1000), (0x1000, 0x3000), (0x20_3000, 0x1000), (0x20_0000, 0x20_0000),
            (0x40_1000, 0x1000), (0x40_0000, 0x1_0000),
        ] as [(UInt64, UInt64)] {
            try fixture.bind(handle, [BindOperation(.unmap, address: address, range: range)])
            #expect(vm.table.audit().isSound)
        }
        _ = consume rest
        let decoder = GP100Decoder(vm)
        for address in [0x1000, 0x20_3000, 0x40_f000] as [UInt64] {
            guard case .sparse = decoder.translate(address) else {
                Issue.record("no zeros at \(address)")
                continue
            }
        }
    }

    @Test("A null mapping is cut by unmaps, and an evicted buffer mapped over one shows nothing")
    func nullMappings() throws {
        let fixture = try DeviceFixture { $0.vramBytes = 1 << 20 }
        for flags in [[], .immediateMode] as [DeviceVM.Flags] {
            let (handle, vm) = try makeVM(fixture, flags)
            let decoder = GP100Decoder(vm)
            try fixture.bind(handle, [BindOperation(.mapNull, address: 0, range: 8 << 30)])
            #expect(decoder.translate(5 << 30) == .sparse(shift: 29))
            try fixture.bind(
                handle, [BindOperation(.unmap, address: 5 << 30, range: Self.page)])
            #expect(decoder.translate(5 << 30) == .hole)
            #expect(decoder.translate(5 << 30 | 0x1000) == .sparse(shift: 12))
            #expect(decoder.translate(5 << 30 | 0x1_0000) == .sparse(shift: 16))
            let buffer = try fixture.makeBuffer(768 << 10)
            let other = try fixture.makeBuffer(768 << 10)
            try #require(buffer.object.isEvicted)
            try fixture.bind(handle, [map(buffer, at: 2 << 30, 768 << 10)])
            #expect(decoder.translate(2 << 30) == .hole)
            #expect(decoder.translate(2 << 30 | 0xc_0000) == .sparse(shift: 16))
            try fixture.client.closeBuffer(other.handle)
            try fixture.client.closeBuffer(buffer.handle)
            try fixture.client.closeVM(handle)
        }
        #expect(fixture.device.tablePool.allocated == 0)
        #expect(fixture.device.tablePool.reserved == 0)
    }

    /// The generic format's VM is the model: it has its own tests against painted pages.
    @Test(
        "Random requests leave in both formats the same translations",
        arguments: 1...3 as ClosedRange<UInt64>, [[], .immediateMode] as [DeviceVM.Flags])
    func differential(seed: UInt64, flags: DeviceVM.Flags) throws {
        let fixture = try DeviceFixture(tables: 16 << 20)
        var random = SplitMix64(seed: seed)
        let vms = [
            try makeVM(fixture, flags, format: .generic), try makeVM(fixture, flags),
        ]
        let buffers = try (0..<4).map { index in
            try fixture.makeBuffer(4 << 20, index % 2 == 0 ? .vram : .system)
        }
        let base: UInt64 = (1 << 38) - (8 << 20)
        let pages = UInt64(16 << 20) / Self.page
        let decoder = GP100Decoder(vms[1].vm)
        for step in 0..<60 {
            var operations: [BindOperation] = []
            for _ in 0..<Int(random.next() % 6 + 1) {
                let unit: UInt64 = [1, 1, 16, 512][Int(random.next() % 4)]
                let count = min(unit * (random.next() % 4 + 1), 1024)
                let first = random.next() % (pages / unit) * unit
                let range = min(count, pages - first) * Self.page
                let address = base + first * Self.page
                let buffer = buffers[Int(random.next() % 4)]
                switch random.next() % 8 {
                case 0, 1: operations.append(BindOperation(.unmap, address: address, range: range))
                case 2:
                    operations.append(BindOperation(.mapNull, address: address, range: range))
                case 3 where random.next() % 4 == 0:
                    operations.append(BindOperation(.unmapAll, buffer: buffer.object))
                default:
                    let offset =
                        random.next() % 2 == 0
                        ? address % (4 << 20) : random.next() % 256 * Self.page
                    operations.append(
                        map(
                            buffer, at: address, min(range, (4 << 20) - offset), offset: offset,
                            readOnly: random.next() % 4 == 0))
                }
            }
            for vm in vms { try fixture.bind(vm.handle, operations) }
            for _ in 0..<200 {
                let address = base + random.next() % pages * Self.page
                let walk = try #require(vms[0].vm.walk(address))
                let context = "seed \(seed), step \(step), 0x\(String(address, radix: 16))"
                switch (walk.result, decoder.translate(address)) {
                case (.fault, .hole): break
                case (.leaf(let leaf), .sparse): #expect(leaf.isNull, "\(context)")
                case (.leaf(let leaf), .page(let page)):
                    #expect(walk.physical == page.physical, "\(context)")
                    #expect(leaf.flags.contains(.readOnly) == page.isReadOnly, "\(context)")
                case (let old, let new): Issue.record("\(old) and \(new): \(context)")
                }
            }
            #expect(vms[1].vm.table.audit().isSound, "seed \(seed), step \(step)")
        }
        for vm in vms { try fixture.client.closeVM(vm.handle) }
        #expect(fixture.device.tablePool.allocated == 0)
        #expect(fixture.device.tablePool.reserved == 0)
    }
}
