import CWireProtocol

/// The kinds of memory and the moves between them.
enum MemoryReport {
    static func report(_ memory: gpuvm_memory_info_reply) -> Report {
        var table = TextTable([
            ("REGION", .left), ("SIZE", .right), ("USED", .right), ("CPU-VISIBLE", .right),
            ("USED OF THAT", .right),
        ])
        for (name, region) in regions(memory) {
            table.add([
                name, size(region.bytes), share(region.used, region.bytes),
                size(region.visible_bytes), share(region.visible_used, region.visible_bytes),
            ])
        }
        return Report(
            lines: table.lines() + [
                """
                buffers for VRAM: \(memory.resident_buffers) resident, \(memory.evicted_buffers) \
                evicted
                """,
                """
                since the start: \(memory.evictions) evictions, \(memory.restores) restores, \
                \(roughSize(memory.bytes_moved)) moved
                """,
            ],
            json: [
                (
                    "regions",
                    .array(
                        regions(memory).map { name, region in
                            .object([
                                ("name", .string(name)),
                                ("bytes", .number(region.bytes)),
                                ("used", .number(region.used)),
                                ("visible_bytes", .number(region.visible_bytes)),
                                ("visible_used", .number(region.visible_used)),
                            ])
                        })
                )
            ] + pressureMembers(memory))
    }

    /// One line about moves.
    static func pressure(_ memory: gpuvm_memory_info_reply) -> String {
        """
        \(memory.evictions) evictions, \(memory.restores) restores, \
        \(roughSize(memory.bytes_moved)) moved, \(memory.resident_buffers) buffers resident, \
        \(memory.evicted_buffers) evicted
        """
    }

    /// What `status` adds to its members.
    static func counters(_ memory: gpuvm_memory_info_reply) -> [(String, JSON)] {
        [
            ("visible_vram_bytes", .number(memory.vram.visible_bytes)),
            ("visible_vram_used", .number(memory.vram.visible_used)),
        ] + pressureMembers(memory)
    }

    static func pressureMembers(_ memory: gpuvm_memory_info_reply) -> [(String, JSON)] {
        [
            ("evictions", .number(memory.evictions)),
            ("restores", .number(memory.restores)),
            ("bytes_moved", .number(memory.bytes_moved)),
            ("resident_buffers", .number(memory.resident_buffers)),
            ("evicted_buffers", .number(memory.evicted_buffers)),
        ]
    }

    private static func regions(
        _ memory: gpuvm_memory_info_reply
    ) -> [(name: String, region: gpuvm_memory_region)] {
        [("VRAM", memory.vram), ("system", memory.system)]
    }

    private static func share(_ part: UInt64, _ whole: UInt64) -> String {
        // Divided first, so that no size overflows.
        let percent = whole < 100 ? 0 : min(100, part / (whole / 100))
        return "\(roughSize(part)) (\(percent) %)"
    }
}
