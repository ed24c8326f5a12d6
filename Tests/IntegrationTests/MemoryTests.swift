import CPlatform
import CWireProtocol
import GPUVMClient
import Glibc
import Testing
import WireProtocol

/// Memory over the socket: how much there is, who has it where, and what the CPU cannot see.
@Suite struct MemoryTests {
    private let mib: UInt64 = 1 << 20

    private func daemon(visible: UInt64? = nil) throws -> TestDaemon {
        try TestDaemon {
            $0.device.vram = 32 << 20
            $0.device.visibleVRAM = visible
            $0.device.systemMemory = 96 << 20
        }
    }

    private func records(_ connection: Connection) throws -> [String: gpuvm_bo_record] {
        Dictionary(
            try connection.buffers().map { (WireName.display($0.name), $0) },
            uniquingKeysWith: { first, _ in first })
    }

    @Test func regionsAddUp() throws {
        let daemon = try daemon()
        let connection = try daemon.connect()
        let empty = try connection.memoryInfo()
        #expect(empty.vram.bytes == 32 * mib && empty.vram.used == 0)
        #expect(empty.vram.visible_bytes == 32 * mib && empty.vram.visible_used == 0)
        #expect(empty.system.bytes == 96 * mib && empty.system.visible_bytes == 96 * mib)
        #expect(empty.system.used == 0 && empty.system.visible_used == 0)
        let first = try connection.makeBuffer(size: 10 * mib, placement: .vram)
        _ = try connection.makeBuffer(size: 3 * mib, placement: .vram)
        _ = try connection.makeBuffer(size: 5 * mib)
        let some = try connection.memoryInfo()
        #expect(some.vram.used == 13 * mib && some.vram.visible_used == 13 * mib)
        #expect(some.system.used == 5 * mib && some.system.visible_used == 5 * mib)
        #expect(some.resident_buffers == 2 && some.evicted_buffers == 0)
        #expect(some.evictions == 0 && some.restores == 0 && some.bytes_moved == 0)
        let status = try connection.status()
        #expect(status.vram_used == some.vram.used && status.vram_bytes == some.vram.bytes)
        try first.close()
        #expect(
            try daemon.eventually { try connection.memoryInfo().vram.used == 3 * mib })
        #expect(try connection.memoryInfo().resident_buffers == 1)
    }

    /// Each eviction and each restore is counted, in buffers and in bytes, and seen in the list.
    @Test func whoLeavesAndComesBackIsShown() throws {
        let daemon = try daemon()
        let connection = try daemon.connect("owner")
        let bench = try Workbench(connection)
        let old = try connection.makeBuffer(size: 20 * mib, placement: .vram, name: "old")
        fill(try old.map(), seed: 5)
        try bench.vm.bind([.map(old, at: 0x1000_0000, range: 20 * mib)])
        let young = try connection.makeBuffer(size: 16 * mib, placement: .vram, name: "young")
        let pressed = try connection.memoryInfo()
        #expect(pressed.evictions == 1 && pressed.restores == 0)
        #expect(pressed.bytes_moved == 20 * mib)
        #expect(pressed.resident_buffers == 1 && pressed.evicted_buffers == 1)
        #expect(pressed.vram.used == 16 * mib)

        let info = try old.info()
        #expect(info.placement == GPUVM_PLACE_SYSTEM)
        #expect(info.flags == GPUVM_BO_EVICTED | GPUVM_BO_WANTS_VRAM)
        #expect(try young.info().flags == GPUVM_BO_WANTS_VRAM)
        var list = try records(connection)
        let record = try #require(list["old"])
        #expect(record.wanted == GPUVM_PLACE_VRAM && record.placement == GPUVM_PLACE_SYSTEM)
        #expect(record.flags == info.flags && record.size == 20 * mib && record.vms == 1)
        #expect(record.client_id == connection.server.clientID && record.handle == old.handle)
        #expect(record.physical_address == info.physical_address && record.extents >= 1)
        #expect(WireName.display(record.client) == "owner")
        #expect(list["young"]?.placement == GPUVM_PLACE_VRAM && list["young"]?.vms == 0)
        #expect(list["commands"]?.wanted == GPUVM_PLACE_SYSTEM && list["commands"]?.flags == 0)
        let mapping = try #require(
            try connection.mappings(ofVM: bench.id).first { $0.address == 0x1000_0000 })
        #expect(mapping.flags == GPUVM_MAPPING_EVICTED && mapping.object == record.id)
        #expect(mapping.placement == GPUVM_PLACE_SYSTEM)
        // The CPU's mapping does not notice.
        #expect(isFilled(try old.map(), seed: 5))

        let target = try connection.makeBuffer(size: 20 * mib, name: "target")
        try bench.vm.bind([.map(target, at: 0x2000_0000, range: 20 * mib)])
        #expect(
            try bench.run { $0.copy(from: 0x1000_0000, to: 0x2000_0000, bytes: 20 << 20) } == 0)
        #expect(isFilled(try target.map(), seed: 5))
        let back = try connection.memoryInfo()
        #expect(back.evictions == 2 && back.restores == 1)
        #expect(back.bytes_moved == (20 + 16 + 20) * mib)
        list = try records(connection)
        #expect(list["old"]?.flags == GPUVM_BO_WANTS_VRAM)
        #expect(list["young"]?.flags == GPUVM_BO_WANTS_VRAM | GPUVM_BO_EVICTED)
        #expect(
            try connection.mappings(ofVM: bench.id).allSatisfy {
                $0.flags & GPUVM_MAPPING_EVICTED == 0
            })
        let walk = try connection.walk(vm: bench.id, address: 0x1000_0000)
        #expect(walk.placement == GPUVM_PLACE_VRAM)
        #expect(try walk.physical_address == old.info().physical_address)
    }

    // MARK: BO_LIST

    @Test func aLongListComesWhole() throws {
        let daemon = try daemon()
        let connection = try daemon.connect()
        // A page has room for 545.
        let buffers = try (0..<1200).map {
            try connection.makeBuffer(size: 4096, name: "buffer \($0)")
        }
        let list = try connection.buffers()
        #expect(list.count == 1200)
        #expect(list.map(\.id) == list.map(\.id).sorted() && Set(list.map(\.id)).count == 1200)
        #expect(Set(list.map(\.handle)) == Set(buffers.map(\.handle)))
        #expect(
            Set(list.map { WireName.display($0.name) })
                == Set((0..<1200).map { "buffer \($0)" }))
    }

    @Test func strangersSeeTheirOwnAndWhatTheyShare() throws {
        let daemon = try daemon()
        let owner = try daemon.connect("owner")
        let shared = try owner.makeBuffer(size: 4096, placement: .vram, name: "shared")
        _ = try owner.makeBuffer(size: 4096, name: "private")
        let stranger = try daemon.connectAsStranger("stranger")
        #expect(try stranger.buffers().isEmpty)
        _ = try stranger.makeBuffer(size: 8192, name: "own")
        let imported = try stranger.importBuffer(try shared.export(), size: 4096)
        let seen = try records(stranger)
        #expect(Set(seen.keys) == ["own", "shared"])
        #expect(seen["own"]?.client_id == stranger.server.clientID)
        #expect(seen["shared"]?.client_id == 0 && seen["shared"]?.handle == imported.handle)
        #expect(seen["shared"].map { WireName.display($0.client) } == "")
        #expect(try Set(records(owner).keys) == ["own", "shared", "private"])
        #expect(try records(owner)["own"]?.handle == 0)
        // The counters are everybody's, as those of STATUS.
        #expect(try stranger.memoryInfo().vram.used == 4096)
        try imported.close()
        #expect(try Set(records(stranger).keys) == ["own"])
    }

    // MARK: what the CPU cannot see

    @Test(arguments: [Placement.system, .vram])
    func aBufferWithoutCPUAccess(_ placement: Placement) throws {
        let daemon = try daemon()
        let raw = try RawClient(daemon.path)
        let connection = try Connection(adopting: raw.duplicate(), name: "client")
        var create = gpuvm_bo_create()
        create.size = 1 << 20
        create.placement = placement.rawValue
        create.flags = GPUVM_BO_NO_CPU_ACCESS
        let reply = try raw.call(.boCreate, create)
        #expect(reply.status == 0 && reply.fds == 0, "\(reply.text)")
        let handle = try reply.contents(gpuvm_bo_reply.self).handle
        let exported = try raw.call(.boExport, gpuvm_handle(handle: handle, reserved: 0))
        #expect(exported.status == EPERM && exported.fds == 0)

        let hidden = try connection.makeBuffer(
            size: 1 << 20, placement: placement, cpuAccess: false, name: "hidden")
        #expect(errno { _ = try hidden.map() } == EPERM)
        #expect(errno { _ = try hidden.export() } == EPERM)
        #expect(try hidden.info().flags & GPUVM_BO_NO_CPU_ACCESS != 0)
        let flags = try #require(try records(connection)["hidden"]).flags
        #expect(try flags == hidden.info().flags)
        // Engines have it like any other.
        let bench = try Workbench(connection)
        let source = try connection.makeBuffer(size: 1 << 20)
        let target = try connection.makeBuffer(size: 1 << 20)
        fill(try source.map(), seed: 11)
        try bench.vm.bind([
            .map(source, at: 0x1000_0000, range: 1 << 20),
            .map(hidden, at: 0x1100_0000, range: 1 << 20),
            .map(target, at: 0x1200_0000, range: 1 << 20),
        ])
        #expect(
            try bench.run {
                $0.copy(from: 0x1000_0000, to: 0x1100_0000, bytes: 1 << 20)
                $0.copy(from: 0x1100_0000, to: 0x1200_0000, bytes: 1 << 20)
            } == 0)
        #expect(isFilled(try target.map(), seed: 11))
        try hidden.close()
    }

    @Test func aLocalBufferWithoutCPUAccess() throws {
        let daemon = try daemon()
        let connection = try daemon.connect()
        let vm = try connection.makeVM(range: 1 << 40)
        let buffer = try connection.makeBuffer(
            size: 4096, placement: .vram, localTo: vm, cpuAccess: false)
        let all = GPUVM_BO_LOCAL | GPUVM_BO_NO_CPU_ACCESS | GPUVM_BO_WANTS_VRAM
        #expect(try buffer.info().flags == all)
        try vm.bind([.map(buffer, at: 0, range: 4096)])
    }

    /// 8 of 32 MiB are within the CPU's reach.
    @Test func aSmallBAR() throws {
        let daemon = try daemon(visible: 8 << 20)
        let connection = try daemon.connect()
        let regions = try connection.memoryInfo()
        #expect(regions.vram.bytes == 32 * mib && regions.vram.visible_bytes == 8 * mib)
        #expect(connection.server.vramBytes == 32 * mib)
        #expect(
            errno { _ = try connection.makeBuffer(size: 9 << 20, placement: .vram) } == ENOSPC)
        #expect(try connection.memoryInfo().vram.used == 0)
        let hidden = try connection.makeBuffer(
            size: 20 * mib, placement: .vram, cpuAccess: false, name: "hidden")
        let visible = try connection.makeBuffer(size: 6 * mib, placement: .vram, name: "visible")
        let used = try connection.memoryInfo()
        #expect(used.vram.used == 26 * mib && used.vram.visible_used == 6 * mib)
        #expect(try hidden.info().physical_address != visible.info().physical_address)

        // The second one for the visible part sends the first one away, and not the hidden one.
        let second = try connection.makeBuffer(size: 4 * mib, placement: .vram, name: "second")
        #expect(try visible.info().flags & GPUVM_BO_EVICTED != 0)
        #expect(try hidden.info().flags & GPUVM_BO_EVICTED == 0)
        #expect(try connection.memoryInfo().vram.visible_used == 4 * mib)
        // Both together never fit, whatever is free beyond.
        let bench = try Workbench(connection)
        try bench.vm.bind([
            .map(visible, at: 0x1000_0000, range: 6 * mib),
            .map(second, at: 0x1100_0000, range: 4 * mib),
            .map(hidden, at: 0x1200_0000, range: 20 * mib),
        ])
        #expect(errno { try bench.run { $0.nop() } } == ENOSPC)
        try bench.vm.bind([.unmapAll(second)])
        fill(try visible.map(), seed: 3)
        #expect(
            try bench.run {
                $0.copy(from: 0x1000_0000, to: 0x1200_0000, bytes: 6 << 20)
                $0.fill(0x1000_0000, bytes: 6 << 20, pattern: 0)
                $0.copy(from: 0x1200_0000, to: 0x1000_0000, bytes: 6 << 20)
            } == 0)
        #expect(isFilled(try visible.map(), seed: 3))
    }

    /// Beyond the CPU's reach is full: what it need not see takes from what it sees.
    @Test func withoutCPUAccessAnyVRAMWillDo() throws {
        let daemon = try daemon(visible: 8 << 20)
        let connection = try daemon.connect()
        _ = try connection.makeBuffer(size: 22 * mib, placement: .vram, cpuAccess: false)
        let inVisible = try connection.makeBuffer(
            size: 7 * mib, placement: .vram, cpuAccess: false)
        let used = try connection.memoryInfo()
        #expect(used.vram.used == 29 * mib && used.vram.visible_used == 7 * mib)
        #expect(used.evictions == 0)
        #expect(try inVisible.info().placement == GPUVM_PLACE_VRAM)
    }
}
