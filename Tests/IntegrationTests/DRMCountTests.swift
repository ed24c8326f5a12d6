import CWireProtocol
import GPUVMClient
import SystemPackage
import TestSupport
import Testing

@testable import GPUVMDaemon
@testable import WireProtocol

/// The counters of protocol 1.2 over the wire; those of ioctls are tested with `gpuvmctl run`.
@Suite("Counters by name", .timeLimit(.minutes(1)))
struct DRMCountTests {
    private func done(_ connection: Connection) throws -> [String: UInt64] {
        Dictionary(
            uniqueKeysWithValues: try connection.drmCounts()
                .filter { $0.kind == GPUVM_DRM_COUNT_DONE.rawValue }
                .map { (WireName.display($0.name), $0.count) })
    }

    @Test("What the VMs made of binds is counted when it is accepted, and only then")
    func operations() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        let zero: [String: UInt64] = [
            "map": 0, "remap": 0, "unmap": 0, "sparse map": 0, "sparse unmap": 0,
        ]
        #expect(try done(connection) == zero)
        let vm = try connection.makeVM(range: 1 << 30)
        let buffer = try connection.makeBuffer(size: 0x10000, placement: .vram)
        try vm.bind([.map(buffer, at: 0x100000, range: 0x10000)])
        // The middle goes: one remap. Then a map over the first half's end: a remap and a map.
        try vm.bind([.unmap(at: 0x104000, range: 0x4000)])
        try vm.bind([.map(buffer, at: 0x103000, range: 0x1000, offset: 0x8000)])
        var expected = zero
        expected["map"] = 2
        expected["remap"] = 2
        #expect(try done(connection) == expected)
        // The second operation is refused: neither happened.
        #expect(
            errno(of: {
                try vm.bind([
                    .unmap(at: 0x100000, range: 0x10000),
                    .map(buffer, at: 1 << 31, range: 0x1000),
                ])
            }) != nil)
        #expect(try done(connection) == expected)
        // The pieces: 3 pages, 1, 8.
        try vm.bind([.unmap(at: 0x100000, range: 0x10000)])
        expected["unmap"] = 3
        #expect(try done(connection) == expected)
    }

    @Test("Lists are empty without open files, and a client that is none is not there")
    func lists() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        #expect(try connection.drmFiles().isEmpty)
        #expect(
            try connection.drmCounts().allSatisfy { $0.kind == GPUVM_DRM_COUNT_DONE.rawValue })
        #expect(errno(of: { _ = try connection.drmCounts(ofClient: 77) }) == 2)
        let vm = try connection.makeVM(range: 1 << 30)
        let id = try #require(try connection.vms().first?.id)
        #expect(try connection.sparseRegions(ofVM: id).isEmpty)
        #expect(errno(of: { _ = try connection.sparseRegions(ofVM: 99) }) == 2)
        withExtendedLifetime(vm) {}
    }

    @Test("A stranger sees no VM of others, and counts without names of programs")
    func strangers() throws {
        let daemon = try TestDaemon()
        let owner = try daemon.connect()
        let vm = try owner.makeVM(range: 1 << 30)
        let id = try #require(try owner.vms().first?.id)
        let stranger = try daemon.connectAsStranger("stranger")
        #expect(errno(of: { _ = try stranger.sparseRegions(ofVM: id) }) == 2)
        #expect(try stranger.drmFiles().isEmpty)
        withExtendedLifetime(vm) {}
    }
}
