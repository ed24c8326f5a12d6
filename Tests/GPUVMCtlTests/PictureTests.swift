import CWireProtocol
import Testing
import WireProtocol

@testable import gpuvmctl

/// Pictures of address spaces; the expected ones are drawn by hand.
@Suite("Pictures of address spaces")
struct PictureTests {
    private func vm(_ range: UInt64, reserved: Range<UInt64> = 0..<0) -> gpuvm_vm_record {
        var vm = gpuvm_vm_record()
        vm.id = 7
        vm.client_id = 3
        vm.range = range
        vm.reserved_start = reserved.lowerBound
        vm.reserved_range = UInt64(reserved.count)
        vm.name = WireName.encode("scene")
        vm.client = WireName.encode("viewer")
        return vm
    }

    /// In pages of 4 KiB.
    private func mapping(
        _ page: UInt64, _ pages: UInt64, _ placement: UInt32 = GPUVM_PLACE_VRAM,
        object: UInt64 = 1, flags: UInt32 = 0
    ) -> gpuvm_va_record {
        var record = gpuvm_va_record()
        record.address = page << 12
        record.range = pages << 12
        record.object = object
        record.placement = placement
        record.flags = flags
        return record
    }

    private func region(_ page: UInt64, _ pages: UInt64) -> gpuvm_va_range {
        gpuvm_va_range(address: page << 12, range: pages << 12)
    }

    @Test("Every kind has its character, at its place")
    func kinds() {
        let picture = AddressSpaceReport.picture(
            vm(1 << 30),
            [
                mapping(16, 2), mapping(18, 1, GPUVM_PLACE_SYSTEM),
                mapping(20, 1, GPUVM_PLACE_SYSTEM, flags: GPUVM_MAPPING_EVICTED),
                mapping(21, 1, object: 0, flags: GPUVM_MAPPING_NULL), mapping(24, 2),
            ], sparse: [region(23, 4)], width: 40)
        #expect(
            AddressSpaceReport.lines(picture, style: .plain) == [
                "VM 7 “scene” of viewer, client 3: 5 mappings",
                """
                  V VRAM 16 KiB, S system memory 4 KiB, E evicted 4 KiB, N null (reads zero) 4 KiB, \
                = sparse, nothing mapped 8 KiB
                """,
                "  ~ below: sparse, 1 region of 16 KiB",
                "  . hole; small letter or -: not all of the character's range",
                "  000000000000  hole of 64 KiB",
                "  000000010000  44 KiB, one character is 4 KiB",
                "  000000010000 |VVS.EN.=VV=|",
                "                       ~~~~",
                "  00000001b000  hole of about 1023.8 MiB",
            ])
    }

    @Test("What only part of a cell is, is small; the most of it wins")
    func partialCells() {
        // 100 pages in rows of 8: more than 4 rows of 4 KiB cells, not of 16 KiB ones.
        let picture = AddressSpacePicture(
            vm(1 << 30),
            [mapping(0, 6), mapping(6, 1, GPUVM_PLACE_SYSTEM), mapping(9, 3), mapping(98, 2)],
            sparse: [region(12, 85)], columns: 8)
        guard case .section(let section) = picture.parts.first else {
            Issue.record("the first part is a section: \(picture.parts)")
            return
        }
        #expect(section.cellBytes == 16 << 10)
        #expect(
            section.rows == [
                // 4 pages; 2 of VRAM, 1 of system memory and 1 hole; 1 hole and 3; then sparse.
                "Vvv=====", "========", "========",
                // Pages 96 of the region, 97 hole, 98 and 99.
                "v",
            ])
        #expect(section.regions == ["   ~~~~~", "~~~~~~~~", "~~~~~~~~", "~"])
    }

    @Test("Large holes are cut out and named; the driver's part is no hole")
    func cuts() {
        let picture = AddressSpacePicture(
            vm(1 << 40, reserved: 1 << 39..<1 << 40),
            [
                mapping(1, 4), mapping(6, 4), mapping(1 << 26, 4),
                mapping(1 << 27, 1 << 27, flags: GPUVM_MAPPING_RESERVED),
            ], sparse: [], columns: 60)
        let bounds = picture.parts.map { part -> (String, UInt64, UInt64) in
            switch part {
            case .hole(let start, let end): ("hole", start, end)
            case .reserved(let start, let end): ("reserved", start, end)
            case .section(let section): ("section", section.start, section.end)
            }
        }
        let expected: [(String, UInt64, UInt64)] = [
            ("hole", 0, 0x1000), ("section", 0x1000, 0xa000), ("hole", 0xa000, 1 << 38),
            ("section", 1 << 38, 1 << 38 + 0x4000), ("hole", 1 << 38 + 0x4000, 1 << 39),
            ("reserved", 1 << 39, 1 << 40),
        ]
        #expect(bounds.count == expected.count)
        for (one, other) in zip(bounds, expected) { #expect(one == other) }
        #expect(picture.mappings == 3)
    }

    @Test("Nothing mapped is one hole")
    func empty() {
        let picture = AddressSpacePicture(vm(1 << 20), [], sparse: [], columns: 60)
        #expect(picture.parts == [.hole(start: 0, end: 1 << 20)])
    }

    @Test("The top of a space and a scattered one are drawn within the limits")
    func limits() {
        let top = AddressSpacePicture(
            vm(1 << 48), [mapping((1 << 36) - 1, 1)], sparse: [], columns: 60)
        let (last, end): (UInt64, UInt64) = (0xffff_ffff_f000, 0x1_0000_0000_0000)
        let section = AddressSpacePicture.Section(
            start: last, end: end, cellBytes: 4096, origin: last, rows: ["V"], regions: [" "])
        #expect(top.parts == [.hole(start: 0, end: last), .section(section)])
        // 100 pages, each 16 MiB from the next: 12 sections with 11 holes between them.
        let scattered = AddressSpacePicture(
            vm(1 << 40), (0..<100).map { mapping($0 << 12, 1) }, sparse: [], columns: 60)
        let sections = scattered.parts.compactMap { part in
            if case .section(let section) = part { section } else { nil }
        }
        #expect(sections.count == 12)
        for section in sections {
            #expect(section.rows.count <= 4)
            #expect(section.rows.allSatisfy { $0.count <= 60 })
        }
        // Each mapping is somewhere: no cell is so large that it holds two.
        let marks = sections.flatMap(\.rows).joined().count { $0 != "." }
        #expect(marks <= 100 && marks >= 12)
        #expect(scattered.bytes == [.vram: 100 << 12])
    }

    @Test("Colours only where they are wanted; the text is the same")
    func colors() {
        let picture = AddressSpaceReport.picture(
            vm(1 << 20), [mapping(0, 2), mapping(2, 1, GPUVM_PLACE_SYSTEM)], sparse: [],
            width: 40)
        let plain = AddressSpaceReport.lines(picture, style: .plain)
        let colored = AddressSpaceReport.lines(picture, style: .colored)
        #expect(plain.contains("  000000000000 |VVS|"))
        #expect(
            colored.contains("  000000000000 |\u{1b}[32mVV\u{1b}[0m\u{1b}[36mS\u{1b}[0m|"))
        #expect(!plain.joined().contains("\u{1b}"))
    }

    @Test("A command draws the VM of a running daemon, with its regions as JSON")
    func command() throws {
        try withDaemon { socket in
            let none = try gpuvmctl(["vm", "map", "--socket", socket, "99"])
            #expect(none.0 == .status(1))
            let narrow = try gpuvmctl(["vm", "map", "--socket", socket, "--width", "3", "1"])
            #expect(narrow.0 == .status(64))
        }
    }
}
