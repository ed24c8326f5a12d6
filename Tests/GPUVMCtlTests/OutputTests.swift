import CWireProtocol
import Testing
import WireProtocol

@testable import gpuvmctl

@Suite struct OutputTests {
    @Test func jsonIsWrittenInOrderAndEscaped() {
        let json = JSON.document([
            ("name", .string("a\"b\\c\n\u{1}\u{e9}")),
            ("list", .array([.number(UInt64.max), .signed(-1), .bool(true), .null])),
            ("empty", .array([])),
            ("nested", .object([("address", .address(0xff))])),
        ])
        let expected = """
            {
              "schema_version": 1,
              "name": "a\\"b\\\\c\\n\\u0001\u{e9}",
              "list": [
                18446744073709551615,
                -1,
                true,
                null
              ],
              "empty": [],
              "nested": {
                "address": "0xff"
              }
            }
            """
        #expect(json.text == expected)
    }

    @Test func numbers() {
        #expect(hex(0) == "0x0")
        #expect(hex16(0x1000) == "0x0000000000001000")
        #expect(hex16(.max) == "0xffffffffffffffff")
        #expect(size(0) == "0 B")
        #expect(size(4096) == "4 KiB")
        #expect(size(4097) == "4097 B")
        #expect(size(3 << 30) == "3 GiB")
        #expect(roughSize(1023) == "1023 B")
        #expect(roughSize(1_600_000) == "1.5 MiB")
        #expect(roughSize(.max) == "16777215.9 TiB")
        #expect(seconds(1_042_999_999) == "1.042 s")
        #expect(microseconds(12_345) == "12.3")
    }

    @Test func textFromElsewhereCannotSteerTheTerminal() {
        #expect("a\u{1b}[31m\u{9b}b\n".printable == "a?[31m?b?")
    }

    @Test func columnsAreAsWideAsTheirWidestCell() {
        var table = TextTable([("ID", .right), ("NAME", .left), ("N", .right)])
        table.add(["1", "x", "100"])
        table.add(["1234", "longer", "1"])
        #expect(
            table.lines() == [
                "  ID  NAME      N",
                "   1  x       100",
                "1234  longer    1",
            ])
    }

    /// The line of drivers/gpu/drm/drm_debugfs.c, with this program's last column behind it.
    @Test func mappingsHaveTheColumnsOfDebugfs() {
        var record = gpuvm_va_record()
        record.address = 0x1000
        record.range = 0x3000
        record.offset = 0x2000
        record.object = 7
        record.flags = GPUVM_MAPPING_READ_ONLY
        record.name = WireName.encode("vertices")
        var reserved = gpuvm_va_record()
        reserved.flags = GPUVM_MAPPING_RESERVED
        let lines = VMReport.table([reserved, record])
        #expect(
            lines[0]
                == " VAs | start              | range              | end                "
                + "| object             | object offset      | name")
        #expect(lines[1].allSatisfy { $0 == "-" })
        #expect(
            lines[2]
                == "     | 0x0000000000001000 | 0x0000000000003000 | 0x0000000000004000 "
                + "| 0x0000000000000007 | 0x0000000000002000 | vertices ro")
        #expect(lines.count == 3)
    }

    @Test func walkShowsItsLevelsOnly() {
        var walk = gpuvm_vm_walk_reply()
        walk.result = GPUVM_WALK_MEMORY.rawValue
        walk.level_count = 2
        walk.physical_address = 0x20_0000
        walk.leaf_bytes = 2 << 20
        walk.placement = GPUVM_PLACE_VRAM
        walk.levels.0 = gpuvm_walk_level(level: 3, index: 5, table: 0x1000, entry: 0x2001)
        walk.levels.1 = gpuvm_walk_level(level: 2, index: 511, table: 0x2000, entry: 0x20_0003)
        #expect(
            WalkReport.lines(walk) == [
                "  level 3  table 0x0000000000001000  [  5] = 0x0000000000002001",
                "  level 2  table 0x0000000000002000  [511] = 0x0000000000200003",
                "  -> VRAM 0x0000000000200000, 2 MiB leaf, read-write",
            ])
        walk.level_count = 4_000_000
        #expect(WalkReport.levels(walk).count == Int(GPUVM_WALK_MAX_LEVELS))
        walk.result = GPUVM_WALK_NULL.rawValue
        #expect(WalkReport.result(walk).hasPrefix("null"))
        walk.result = GPUVM_WALK_FAULT.rawValue
        #expect(WalkReport.result(walk).hasPrefix("fault"))
    }

    @Test func faultNamesBothNeighbours() {
        var fault = gpuvm_fault_record()
        fault.id = 3
        fault.address = 0x5000
        fault.access = GPUVM_ACCESS_WRITE.rawValue
        fault.reason = GPUVM_FAULT_READ_ONLY.rawValue
        fault.flags = GPUVM_FAULT_HAS_BELOW | GPUVM_FAULT_HAS_LAST_OP
        fault.below = gpuvm_mapping(address: 0x1000, range: 0x1000, offset: 0, bo: 9, flags: 0)
        fault.timestamp = 10_000
        fault.last_op_time = 4_000
        fault.last_op_kind = GPUVM_BIND_UNMAP.rawValue
        fault.last_op_address = 0x5000
        fault.last_op_range = 0x1000
        let lines = FaultReport.lines(fault) { "buffer-\($0)" }
        #expect(lines[0] == "fault 3: write of 0x5000: read-only, level 0")
        #expect(lines[2] == "  below: [0x1000;0x2000] buffer-9+0x0")
        #expect(lines[3] == "  above: no mapping")
        #expect(lines[4] == "  last op: UNMAP of [0x5000;0x6000], 6.0 us before")
    }

    @Test func addressesAreDecimalOrHexadecimal() {
        #expect(Address(argument: "4096")?.value == 4096)
        #expect(Address(argument: "0x10_0") == nil)
        #expect(Address(argument: "0xFfff")?.value == 0xffff)
        #expect(Address(argument: "-1") == nil)
        #expect(Address(argument: "0x10000000000000000") == nil)
        #expect(Address(argument: "") == nil)
    }
}
