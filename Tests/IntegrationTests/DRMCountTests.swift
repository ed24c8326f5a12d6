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

    @Test("A stranger learns of no open file: neither its counters nor that it is there")
    func strangersFiles() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        // GPUVM_DRM_OPEN, as the shim sends it.
        let file = try UnixSocket.connect(path: daemon.path)
        var request = gpuvm_drm_open()
        request.magic = GPUVM_PROTOCOL_MAGIC
        request.major = UInt16(GPUVM_PROTOCOL_MAJOR)
        request.minor = UInt16(GPUVM_PROTOCOL_MINOR)
        request.node = GPUVM_DRM_RENDER.rawValue
        request.minor_number = 128
        request.name = WireName.encode("program")
        var header = gpuvm_header()
        header.length = UInt32(MemoryLayout<gpuvm_header>.size + MemoryLayout<gpuvm_drm_open>.size)
        header.opcode = UInt16(GPUVM_DRM_OPEN.rawValue)
        header.serial = 1
        let message =
            withUnsafeBytes(of: header) { Array($0) } + withUnsafeBytes(of: request) { Array($0) }
        let isSent = try message.withUnsafeBytes {
            try file.send($0, fds: FDList(), blocking: true)
        }
        try #require(isSent)
        let buffer = MessageBuffer()
        guard let received = try file.receive(into: buffer) else {
            Issue.record("the daemon hung up")
            return
        }
        // gpuvm_drm_open_reply: client_id is behind major and minor.
        let reply = Array(received.bytes.dropFirst(MemoryLayout<gpuvm_header>.size + 4).prefix(4))
        let id = reply.reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        #expect(try connection.drmFiles().map(\.client_id) == [id])
        #expect(try connection.drmCounts(ofClient: id).isEmpty, "no ioctl was made")
        let stranger = try daemon.connectAsStranger("stranger")
        #expect(try stranger.drmFiles().isEmpty)
        #expect(errno(of: { _ = try stranger.drmCounts(ofClient: id) }) == 2)
        #expect(errno(of: { _ = try stranger.drmCounts(ofClient: 77) }) == 2)
        withExtendedLifetime(file) {}
    }
}
