import CWireProtocol
import GPUVMClient
import Testing

@testable import gpuvmctl

/// NVIDIA's entries taken apart; every number is worked out by hand from the bits of dev_mmu.h.
@Suite struct TableOutputTests {
    private func entry(
        _ level: UInt16, _ raw: UInt64, part: gpuvm_table_part = GPUVM_TABLE_WHOLE,
        index: UInt32 = 0
    ) -> gpuvm_table_entry {
        gpuvm_table_entry(
            address: 0x20_0000, table: 0x1000_0000_1000, entry: raw, index: index, level: level,
            part: UInt16(part.rawValue))
    }

    private func text(_ entry: gpuvm_table_entry) -> String {
        let decoded = GP100Entry(entry, vramBase: 1 << 44)
        return "\(decoded.name) \(decoded.text)"
    }

    @Test func directories() {
        #expect(
            text(entry(4, 0x1234_5602))
                == "PDE3 IS_PTE=0 APERTURE=1(VIDEO_MEMORY) VOL=0 "
                + "ADDRESS_VID=0x123456(0x100123456000)")
        #expect(
            text(entry(3, 0x10_010c))
                == "PDE2 IS_PTE=0 APERTURE=0x2(SYSTEM_COHERENT_MEMORY) VOL=1 "
                + "ADDRESS_SYS=0x1001(0x1001000)")
        #expect(
            text(entry(2, 0x8)) == "PDE1 IS_PTE=0 APERTURE=0(INVALID) VOL=1 -> sparse")
        #expect(
            text(entry(2, 0)) == "PDE1 IS_PTE=0 APERTURE=0(INVALID) VOL=0 -> no table")
        // The big half counts in units of 256 bytes, from bit 4 on.
        #expect(
            text(entry(1, 0x432, part: GPUVM_TABLE_BIG))
                == "PDE0.BIG IS_PTE=0 APERTURE_BIG=1(VIDEO_MEMORY) VOL_BIG=0 "
                + "ADDRESS_BIG_VID=0x43(0x100000004300)")
        #expect(
            text(entry(1, 0x502, part: GPUVM_TABLE_SMALL))
                == "PDE0.SMALL APERTURE_SMALL=1(VIDEO_MEMORY) VOL_SMALL=0 "
                + "ADDRESS_SMALL_VID=0x5(0x100000005000)")
        #expect(
            text(entry(1, 0x8, part: GPUVM_TABLE_BIG)).hasSuffix("VOL_BIG=1 -> sparse"))
        #expect(text(entry(1, 0, part: GPUVM_TABLE_SMALL)).hasSuffix("-> no table"))
    }

    @Test func pages() {
        #expect(
            text(entry(0, 0x0612_3450_0000_7741, part: GPUVM_TABLE_BIG))
                == "PTE_64K VALID=1 APERTURE=0(VIDEO_MEMORY) VOL=0 ENCRYPTED=0 PRIVILEGE=0 "
                + "READ_ONLY=1 ATOMIC_DISABLE=0 ADDRESS_VID=0x77(0x100000077000) "
                + "COMPTAGLINE=0x12345 KIND=0x6")
        #expect(
            text(entry(0, 0x0100_0000_0c00_004d, part: GPUVM_TABLE_SMALL))
                == "PTE_4K VALID=1 APERTURE=0x2(SYSTEM_COHERENT_MEMORY) VOL=1 ENCRYPTED=0 "
                + "PRIVILEGE=0 READ_ONLY=1 ATOMIC_DISABLE=0 ADDRESS_SYS=0xc0000(0xc0000000) KIND=1")
        #expect(text(entry(1, 0x2_0001, part: GPUVM_TABLE_BIG)).hasPrefix("PTE_2M VALID=1 "))
        #expect(text(entry(0, 0x8, part: GPUVM_TABLE_SMALL)) == "PTE_4K VALID=0 VOL=1 -> sparse")
        #expect(
            text(entry(0, 0x20, part: GPUVM_TABLE_BIG))
                == "PTE_64K VALID=0 VOL=0 PRIVILEGE=1 -> the 4K PTEs below are ignored")
        #expect(text(entry(0, 0, part: GPUVM_TABLE_SMALL)).hasSuffix("-> invalid"))
        // All fields at once: each keeps to its bits.
        let full = GP100Entry(entry(0, .max, part: GPUVM_TABLE_SMALL), vramBase: 0)
        #expect(full.fields.first { $0.name == "ADDRESS_SYS" }?.value == 0x3fff_ffff_ffff)
        #expect(full.fields.first { $0.name == "KIND" }?.value == 0xff)
        let video = GP100Entry(entry(0, .max & ~6, part: GPUVM_TABLE_SMALL), vramBase: 0)
        #expect(video.fields.first { $0.name == "ADDRESS_VID" }?.value == 0x1ff_ffff)
        #expect(video.fields.first { $0.name == "COMPTAGLINE" }?.value == 0x3_ffff)
    }

    @Test func dumps() {
        var dump = PageTableDump(
            format: GPUVM_TABLE_GP100.rawValue, rootAddress: 0x1000_0000_0000, vramBase: 1 << 44,
            entries: [entry(2, 0x8, index: 300)])
        let report = TableReport.dump(vm: 3, dump)
        #expect(
            report.lines == [
                "page tables of VM 3: NVIDIA NV_MMU_VER2 (GP100 and later), root "
                    + "0x0000100000000000, ADDRESS_VID counts from 0x100000000000",
                "  0x0000000000200000  PDE1[300]       @0x0000100000001000 = 0x0000000000000008  "
                    + "IS_PTE=0 APERTURE=0(INVALID) VOL=1 -> sparse",
            ])
        let json = JSON.document(report.json).text
        for line in [
            "\"format\": \"gp100\"", "\"name\": \"PDE1\"", "\"entry\": \"0x8\"",
            "\"VOL\": \"0x1\"", "\"summary\": \"sparse\"", "\"index\": 300",
        ] {
            #expect(json.contains(line), "\(line)")
        }
        dump.format = GPUVM_TABLE_GENERIC48.rawValue
        let plain = TableReport.dump(vm: 3, dump)
        #expect(
            plain.lines[0].hasSuffix("the generic format of four levels, root 0x0000100000000000"))
        #expect(
            plain.lines[1].hasSuffix("L2[300]         @0x0000100000001000 = 0x0000000000000008"))
        dump.format = 7
        #expect(TableReport.dump(vm: 3, dump).lines[0].contains("format 7"))
    }

    @Test func walks() {
        var walk = gpuvm_vm_walk_reply()
        walk.result = GPUVM_WALK_NULL.rawValue
        walk.leaf_bytes = 512 << 20
        walk.level_count = 1
        let way = PageTableDump(
            format: GPUVM_TABLE_GP100.rawValue, rootAddress: 0, vramBase: 1 << 44,
            entries: [entry(2, 0x8, index: 1)])
        let report = WalkReport.report(vm: 3, address: 0x2000_0000, walk, way: way)
        #expect(report.lines.count == 3)
        #expect(report.lines[1].contains("PDE1[1]") && report.lines[1].hasSuffix("-> sparse"))
        #expect(report.lines[2] == "  -> null: reads zero, drops writes (512 MiB leaf)")
        // A daemon that does not say: the levels alone.
        let old = WalkReport.report(vm: 3, address: 0x2000_0000, walk, way: nil)
        #expect(old.lines[1].hasPrefix("  level 0"))
    }
}
