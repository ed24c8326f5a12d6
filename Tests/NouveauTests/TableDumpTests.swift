import Device
import GPUVMDaemon
import Memory
import PageTables
import TestSupport
import Testing
import WireProtocol

/// VM_TABLES over a socket, by hand: every record is where it says, and nothing is left out.
@Suite("nouveau: the page tables' bytes on the wire")
struct TableDumpTests {
    /// struct gpuvm_table_entry: address@0, table@8, entry@16, index u32@24, level u16@28, part u16@30.
    private struct Record {
        var address: UInt64
        var table: UInt64
        var entry: UInt64
        var index: UInt32
        var level: UInt32
        var part: UInt32

        init(_ bytes: Bytes, _ offset: Int) {
            address = bytes.u64(offset)
            table = bytes.u64(offset + 8)
            entry = bytes.u64(offset + 16)
            index = bytes.u32(offset + 24)
            level = bytes.u32(offset + 28) & 0xffff
            part = bytes.u32(offset + 28) >> 16
        }

        /// Where its eight bytes are: a PDE0 has sixteen.
        var place: UInt64 {
            let entry = UInt64(index)
            return level == 1 ? table + entry * 16 + (part == 2 ? 8 : 0) : table + entry * 8
        }
    }

    private struct Client {
        let socket: UnixSocket

        init(_ fixture: SocketFixture) throws {
            socket = try fixture.connect()
            let hello = Bytes(48).put(0, UInt32(0x314d_5647)).put(4, UInt16(1)).put(6, UInt16(2))
            try SocketClient.send(SocketClient.message(1, serial: 1, hello.bytes), on: socket)
            #expect(try SocketClient.receive(socket)?.status == 0)
        }

        /// VM_TABLES: {vm u32, flags u32, address u64}.
        func tables(
            _ vm: UInt32, flags: UInt32 = 0, address: UInt64 = 0
        ) throws -> SocketClient.Reply {
            let body = Bytes(16).put(0, vm).put(4, flags).put(8, address)
            try SocketClient.send(SocketClient.message(113, serial: 2, body.bytes), on: socket)
            return try #require(try SocketClient.receive(socket))
        }
    }

    private func records(_ reply: SocketClient.Reply) throws -> [Record] {
        try #require(reply.status == 0)
        let count = Int(reply.body.u32(0))
        #expect(reply.body.bytes.count == 32 + count * 32)
        return (0..<count).map { Record(reply.body, 32 + $0 * 32) }
    }

    @Test("A dump of a VM that an open file made is its memory, page by page")
    func dump() throws {
        let fixture = try SocketFixture()
        let file = TestFile(fixture.server.nouveau)
        try file.vmInit()
        let vm = try #require(file.file.client.allVMs.first?.vm)
        let buffer = try file.gemNew(64 << 10).handle
        #expect(try file.bind([.mapSparse(0x40_0000_0000, 3 << 30)]) == 0)
        var operations: [BindOp] = []
        // Small pages, each alone: more than a page of records.
        for index in 0..<3000 as Range<UInt64> {
            operations.append(
                .map(buffer, at: 0x1000_0000 + index * 0x2000, 0x1000, offset: index % 16 * 0x1000))
        }
        operations.append(.map(buffer, at: 0x2000_0000, 64 << 10, kind: 6))
        #expect(try file.bind(operations) == 0)

        let client = try Client(fixture)
        var all: [Record] = []
        var cursor: UInt64 = 0
        var pages = 0
        repeat {
            let reply = try client.tables(vm.id, address: cursor)
            all += try records(reply)
            #expect(reply.body.u32(4) == 1, "GPUVM_TABLE_GP100")
            #expect(reply.body.u64(16) == vm.addressSpace.rootAddress)
            #expect(reply.body.u64(24) == 1 << 44)
            cursor = reply.body.u64(8)
            pages += 1
        } while cursor != 0 && pages < 10
        #expect(pages == 2, "3000 and some records of 32 bytes")
        let memory = fixture.device.memory
        func word(_ address: UInt64) -> UInt64 {
            memory.resolve(address, limit: 8)?.pointer.load(as: UInt64.self) ?? 0xdead
        }
        #expect(all.allSatisfy { word($0.place) == $0.entry && $0.entry != 0 })
        #expect(Set(all.map(\.place)).count == all.count, "each once")
        // Nothing left out: the words of every table that the dump names.
        var words = 0
        for table in Set(all.map(\.table)) {
            for offset in stride(from: 0 as UInt64, to: 4096, by: 8) where word(table + offset) != 0
            {
                words += 1
            }
        }
        #expect(words == all.count)
        #expect(all.map(\.address) == all.map(\.address).sorted())
        // Sparse PDE1s: 3 GiB are six spans of 512 MiB.
        let sparse = all.filter { $0.level == 2 && $0.entry == 0x8 }
        #expect(sparse.map(\.address) == (0..<6).map { 0x40_0000_0000 + $0 << 29 })
        let big = all.filter { $0.level == 0 && $0.part == 1 }
        #expect(big.map { $0.entry >> 56 } == [6] && big.map(\.address) == [0x2000_0000])
        // What is on the way to one address, zero or not: five levels, both halves of the PDE0.
        let way = try records(try client.tables(vm.id, flags: 1, address: 0x2000_0123))
        #expect(way.map(\.level) == [4, 3, 2, 1, 1, 0])
        #expect(way.map(\.part) == [0, 0, 0, 1, 2, 1])
        #expect(way[4].entry == 0 && way[5].entry == big.first?.entry)
        #expect(try client.tables(99_999).status == 2)
        #expect(try client.tables(vm.id, flags: 2).status == 22)
        #expect(try client.tables(vm.id, address: .max).body.u32(0) == 0)
    }
}
