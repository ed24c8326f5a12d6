import CWireProtocol
import Testing
import WireProtocol

@testable import gpuvmctl

/// What is printed about memory follows what the daemon says.
@Suite struct MemoryOutputTests {
    private func memory() -> gpuvm_memory_info_reply {
        var memory = gpuvm_memory_info_reply()
        memory.vram = gpuvm_memory_region(
            bytes: 64 << 20, used: 48 << 20, visible_bytes: 16 << 20, visible_used: 8 << 20)
        memory.system = gpuvm_memory_region(
            bytes: 1 << 30, used: 5 << 20, visible_bytes: 1 << 30, visible_used: 5 << 20)
        memory.evictions = 17
        memory.restores = 12
        memory.bytes_moved = 1_600_000
        memory.resident_buffers = 9
        memory.evicted_buffers = 5
        return memory
    }

    @Test func regionsAndCounters() {
        let report = MemoryReport.report(memory())
        #expect(
            report.lines == [
                "REGION    SIZE             USED  CPU-VISIBLE    USED OF THAT",
                "VRAM    64 MiB  48.0 MiB (75 %)       16 MiB  8.0 MiB (50 %)",
                "system   1 GiB    5.0 MiB (0 %)        1 GiB   5.0 MiB (0 %)",
                "buffers for VRAM: 9 resident, 5 evicted",
                "since the start: 17 evictions, 12 restores, 1.5 MiB moved",
            ])
        var changed = memory()
        changed.vram.used = 64 << 20
        changed.evictions = 18
        changed.evicted_buffers = 6
        let lines = MemoryReport.report(changed).lines
        #expect(lines[1].contains("64.0 MiB (100 %)"))
        #expect(lines[2].hasPrefix("system   1 GiB") && lines[2].contains("5.0 MiB (0 %)"))
        #expect(lines[3].hasSuffix("6 evicted") && lines[4].contains("18 evictions"))
    }

    @Test func regionsOfNothingAndOfEverything() {
        let empty = MemoryReport.report(gpuvm_memory_info_reply())
        #expect(empty.lines[1].contains("0 B (0 %)"))
        var full = gpuvm_memory_info_reply()
        full.vram = gpuvm_memory_region(
            bytes: .max, used: .max, visible_bytes: 50, visible_used: 50)
        #expect(MemoryReport.report(full).lines[1].contains("(100 %)"))
    }

    @Test func memoryForPrograms() {
        let text = JSON.document(MemoryReport.report(memory()).json).text
        #expect(text.hasPrefix("{\n  \"schema_version\": 1,\n  \"regions\": [\n"))
        #expect(text.contains("\"name\": \"VRAM\",\n      \"bytes\": 67108864,"))
        #expect(text.contains("\"used\": 50331648,"))
        #expect(text.contains("\"visible_bytes\": 16777216,"))
        #expect(text.contains("\"evictions\": 17,"))
        #expect(text.contains("\"bytes_moved\": 1600000,"))
        #expect(text.hasSuffix("\"evicted_buffers\": 5\n}"))
    }

    private func buffer() -> gpuvm_bo_record {
        var buffer = gpuvm_bo_record()
        buffer.id = 12
        buffer.client_id = 3
        buffer.handle = 4
        buffer.size = 6 << 20
        buffer.physical_address = 0x1_2340_0000
        buffer.wanted = GPUVM_PLACE_VRAM
        buffer.placement = GPUVM_PLACE_SYSTEM
        buffer.flags = GPUVM_BO_LOCAL | GPUVM_BO_EVICTED | GPUVM_BO_WANTS_VRAM
        buffer.vms = 2
        buffer.extents = 7
        buffer.name = WireName.encode("texture")
        buffer.client = WireName.encode("game")
        return buffer
    }

    @Test func buffersAndWhereTheyAre() {
        var other = gpuvm_bo_record()
        other.id = 300
        other.size = 4096
        other.flags = GPUVM_BO_NO_CPU_ACCESS
        other.name = WireName.encode("\u{1b}[2J")
        let report = BufferReport.list([buffer(), other])
        #expect(
            report.lines == [
                " ID  CLIENT   SIZE  WANTS   IS IN       ADDRESS  RUNS  VMS  STATE          NAME",
                """
                 12       3  6 MiB  VRAM    system  0x123400000     7    2  evicted,local  \
                texture (game)
                """,
                "300       -  4 KiB  system  system          0x0     0    0  no-cpu         ?[2J",
            ])
        var back = buffer()
        back.placement = GPUVM_PLACE_VRAM
        back.flags = GPUVM_BO_WANTS_VRAM
        back.physical_address = 0x1000_0000_0000
        #expect(
            BufferReport.list([back]).lines[1]
                == "12       3  6 MiB  VRAM   VRAM   0x100000000000     7    2  -      texture (game)"
        )
    }

    @Test func buffersForPrograms() {
        let text = JSON.document(BufferReport.list([buffer()]).json).text
        #expect(text.hasPrefix("{\n  \"schema_version\": 1,\n  \"bos\": [\n"))
        for member in [
            "\"id\": 12,", "\"client\": 3,", "\"client_name\": \"game\",", "\"handle\": 4,",
            "\"wanted\": \"VRAM\",", "\"placement\": \"system\",", "\"evicted\": true,",
            "\"flags\": [\n        \"local\"\n      ],", "\"vms\": 2,", "\"extents\": 7,",
            "\"physical_address\": \"0x123400000\"",
        ] { #expect(text.contains(member), "\(member)") }
        var stranger = buffer()
        stranger.client_id = 0
        stranger.handle = 0
        stranger.flags = 0
        let other = JSON.document(BufferReport.list([stranger]).json).text
        #expect(other.contains("\"client\": null,") && other.contains("\"handle\": null,"))
        #expect(other.contains("\"evicted\": false,"))
        #expect(
            JSON.document(BufferReport.list([]).json).text
                == "{\n  \"schema_version\": 1,\n  \"bos\": []\n}")
    }

    @Test func statusSaysMoreIfTheDaemonDoes() {
        var status = gpuvm_status_reply()
        status.vram_bytes = 64 << 20
        let old = StatusCommand.report(status)
        #expect(!old.lines.contains { $0.contains("evict") })
        #expect(!old.json.contains { $0.0 == "evictions" })
        let new = StatusCommand.report(status, memory())
        #expect(Array(new.lines.dropLast()) == old.lines)
        #expect(
            new.lines.last == """
                pressure     17 evictions, 12 restores, 1.5 MiB moved, 9 buffers resident, 5 evicted
                """)
        #expect(Array(new.json.map(\.0).prefix(old.json.count)) == old.json.map(\.0))
        let text = JSON.document(new.json).text
        #expect(text.contains("\"visible_vram_bytes\": 16777216,"))
        #expect(text.contains("\"visible_vram_used\": 8388608,"))
        #expect(text.contains("\"restores\": 12,"))
    }

    @Test func namesOfTheNewFlags() {
        #expect(
            Names.mappingFlags(GPUVM_MAPPING_EVICTED | GPUVM_MAPPING_READ_ONLY) == [
                "ro", "evicted",
            ])
        #expect(
            Names.vmFlags(GPUVM_VM_IS_IMMEDIATE | GPUVM_VM_IS_WEAK | GPUVM_VM_BANNED) == [
                "banned", "immediate", "weak",
            ])
        var record = gpuvm_va_record()
        record.flags = GPUVM_MAPPING_EVICTED
        record.name = WireName.encode("texture")
        #expect(VMReport.table([record])[2].hasSuffix("| texture evicted"))
    }
}
