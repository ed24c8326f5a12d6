import CPlatform
import CWireProtocol
import GPUVMClient
import Glibc
import Testing
import WireProtocol

/// A client of protocol 1.0, every byte written as that version had it.
///
/// Nothing here uses a struct of the header, so that no change of it goes unseen.
@Suite struct MinorVersionTests {
    /// The connection of such a client.
    private struct OldClient {
        let raw: RawClient
        private(set) var serial: UInt32 = 0

        init(_ path: String) throws {
            raw = try RawClient(path)
        }

        /// The body of a successful reply, which has to have `bytes` bytes and `fds` descriptors.
        mutating func call(
            _ opcode: UInt16, _ body: [UInt8], bytes: Int, fds: Int = 0, sending: [Int32] = []
        ) throws -> [UInt8] {
            serial += 1
            let reply = try raw.call(
                bytes: RawClient.message(opcode, body, serial: serial), fds: sending)
            try #require(reply.status == 0, "opcode \(opcode): \(reply.text)")
            try #require(reply.body.count == bytes, "opcode \(opcode)")
            try #require(reply.fds == fds, "opcode \(opcode)")
            return reply.body
        }

        func status(_ opcode: UInt16, _ body: [UInt8]) throws -> Int32 {
            try raw.call(bytes: RawClient.message(opcode, body), fds: []).status
        }
    }

    private func d(_ values: UInt32...) -> [UInt8] { values.flatMap { RawClient.body($0) } }
    private func q(_ values: UInt64...) -> [UInt8] { values.flatMap { RawClient.body($0) } }
    private func name(_ text: String) -> [UInt8] {
        Array(text.utf8) + [UInt8](repeating: 0, count: 32 - text.utf8.count)
    }
    private func dword(_ body: [UInt8], _ offset: Int) -> UInt32 {
        body.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self) }
    }
    private func qword(_ body: [UInt8], _ offset: Int) -> UInt64 {
        body.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
    }

    private let vramAddress: UInt64 = 0x1000_0000
    private let memoryAddress: UInt64 = 0x2000_0000

    /// HELLO, a buffer in VRAM, a memfd of its own, a VM that maps both, a queue and a sync object;
    /// all handles are 1, but that the memfd is buffer 2.
    private func begin(_ client: inout OldClient, memory: Int32) throws {
        let hello = try client.call(
            1, d(0x314d_5647, 1) + q(0) + name("old"), bytes: 88, fds: 1)
        #expect(dword(hello, 0) & 0xffff == 1, "the major version")
        #expect(qword(hello, 8) & 0x1f == 0x1f, "what 1.0 could do")
        #expect(qword(hello, 16) == 16 << 20 && qword(hello, 24) == 64 << 20)
        #expect(dword(hello, 32) == 48 && dword(hello, 36) == 4096)
        let made = try client.call(
            16, q(4 << 20) + d(1, 0, 0, 0) + name("vram"), bytes: 16, fds: 1)
        #expect(dword(made, 0) == 1 && dword(made, 4) == 1 && qword(made, 8) == 4 << 20)
        let imported = try client.call(
            17, q(1 << 16) + name("memory"), bytes: 16, sending: [memory])
        #expect(dword(imported, 0) == 2 && dword(imported, 4) == 0)
        let vm = try client.call(
            32, q(0, 1 << 40, 0, 0) + d(0, 0) + name("space"), bytes: 8)
        #expect(dword(vm, 0) == 1)
        let bound = try client.call(
            34,
            d(1, 0, 2, 2, 0, 0)
                + d(0, 0, 1, 0) + q(vramAddress, 4 << 20, 0)
                + d(0, 0, 2, 0) + q(memoryAddress, 1 << 16, 0), bytes: 24 + 2 * 112)
        #expect(dword(bound, 16) == 2 && dword(bound, 20) == 0)
        #expect(qword(bound, 24 + 16) == vramAddress && dword(bound, 24 + 40) == 1)
        #expect(dword(try client.call(48, d(1, 0, 1, 0) + q(0), bytes: 8), 0) == 1)
        #expect(dword(try client.call(64, d(0, 0), bytes: 8), 0) == 1)
    }

    /// Runs a stream that lies in the memfd, and waits for it.
    private func run(
        _ client: inout OldClient, memory: Int32, _ write: (inout CommandWriter) -> Void
    ) throws {
        var commands = CommandWriter()
        write(&commands)
        commands.end()
        let written = commands.dwords.withUnsafeBytes {
            pwrite(memory, $0.baseAddress, $0.count, 0)
        }
        try #require(written == Int(commands.byteCount))
        let sync = d(1, 0) + q(0)
        _ = try client.call(
            51, d(1, 0, 1, 0, 1, 0) + q(memoryAddress, 0) + sync, bytes: 16)
        _ = try client.call(70, d(1, 0) + q(soon()) + sync, bytes: 8)
    }

    private func qword(in memory: Int32, at offset: Int) throws -> UInt64 {
        var value: UInt64 = 0
        try #require(pread(memory, &value, 8, off_t(offset)) == 8)
        return value
    }

    private func daemon() throws -> TestDaemon {
        try TestDaemon {
            $0.device.vram = 16 << 20
            $0.device.systemMemory = 64 << 20
        }
    }

    @Test func aClientOfTheFirstVersionGetsWhatItKnows() throws {
        let daemon = try daemon()
        let memory = try OwnedFD.memfd(name: "memory", bytes: 1 << 16)
        var client = try OldClient(daemon.path)
        try begin(&client, memory: memory.rawValue)
        let (source, target) = (vramAddress + 0x1000, memoryAddress + 0x8000)
        try run(&client, memory: memory.rawValue) {
            $0.store(source, qword: 0x1122_3344_5566_7788)
            $0.copy(from: source, to: target, bytes: 8)
        }
        #expect(try qword(in: memory.rawValue, at: 0x8000) == 0x1122_3344_5566_7788)

        let info = try client.call(19, d(1, 0), bytes: 64)
        #expect(qword(info, 0) == 4 << 20 && dword(info, 8) == 1)
        #expect(dword(info, 12) & 1 == 0, "not local to a VM")
        #expect(dword(info, 20) == 1, "one mapping")
        let status = try client.call(96, [], bytes: 216)
        #expect(dword(status, 8) == 1 && dword(status, 12) == 1 && dword(status, 16) == 2)
        #expect(qword(status, 40) == 16 << 20 && qword(status, 48) == 4 << 20)
        let page = d(0, 0) + q(0)
        let clients = try client.call(97, page, bytes: 16 + 88)
        #expect(dword(clients, 0) == 1 && qword(clients, 8) == 0)
        let vms = try client.call(98, page, bytes: 16 + 200)
        #expect(dword(vms, 16 + 12) == 0, "no flags")
        let id = dword(vms, 16)
        let shown = try client.call(99, d(id, 0) + q(0), bytes: 16 + 2 * 72)
        #expect(qword(shown, 16) == vramAddress && dword(shown, 16 + 36) == 1)
        #expect(dword(shown, 16 + 32) == 0, "no flags")
        let walk = try client.call(100, d(id, 0) + q(vramAddress), bytes: 152)
        #expect(dword(walk, 0) == 1)
        _ = try client.call(103, page, bytes: 16 + 64)
        #expect(try client.call(18, d(1, 0), bytes: 0, fds: 1).isEmpty)
        for opcode in [20, 33, 49] as [UInt16] {
            _ = try client.call(opcode, d(opcode == 20 ? 2 : 1, 0), bytes: 0)
        }
        #expect(try client.status(19, d(2, 0)) == ENOENT)
        #expect(try client.status(107, page) == EOPNOTSUPP)
    }

    /// Pressure by others: its buffer leaves VRAM and comes back, and all it sees is its bytes.
    @Test func aClientOfTheFirstVersionIsEvictedAndBroughtBack() throws {
        let daemon = try daemon()
        let memory = try OwnedFD.memfd(name: "memory", bytes: 1 << 16)
        var client = try OldClient(daemon.path)
        try begin(&client, memory: memory.rawValue)
        let (source, target) = (vramAddress + 0x3f_fff8, memoryAddress + 0x8000)
        try run(&client, memory: memory.rawValue) {
            $0.store(source, qword: 0x0102_0304_0506_0708)
        }
        let other = try daemon.connect("new")
        let filler = try other.makeBuffer(size: 16 << 20, placement: .vram, name: "filler")
        let info = try client.call(19, d(1, 0), bytes: 64)
        #expect(dword(info, 8) == 0, "in system memory now")
        #expect(dword(info, 12) & 1 == 0)
        let vms = try client.call(98, d(0, 0) + q(0), bytes: 16 + 200)
        let shown = try client.call(99, d(dword(vms, 16), 0) + q(0), bytes: 16 + 2 * 72)
        #expect(dword(shown, 16 + 32) & 7 == 0, "the flags that it knows")
        try run(&client, memory: memory.rawValue) {
            $0.copy(from: source, to: target, bytes: 8)
        }
        #expect(try qword(in: memory.rawValue, at: 0x8000) == 0x0102_0304_0506_0708)
        #expect(dword(try client.call(19, d(1, 0), bytes: 64), 8) == 1)
        #expect(try filler.info().placement == GPUVM_PLACE_SYSTEM)
        let counters = try other.memoryInfo()
        #expect(counters.evictions == 2 && counters.restores == 1)
    }
}
