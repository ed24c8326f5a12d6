import CWireProtocol
import GPUVMClient

/// A page-table walk, from the root down.
enum WalkReport {
    /// - Parameter way: Every entry that the walk may read; nil from a daemon that does not say.
    static func report(
        vm: UInt32, address: UInt64, _ walk: gpuvm_vm_walk_reply, way: PageTableDump?
    ) -> Report {
        var lines = ["walk of \(hex16(address)) in VM \(vm)"]
        if let way, TableReport.isNVIDIA(way) {
            // The PDE0's two words and both tables' entries; the walk has only those that decided.
            lines += TableReport.lines(way) + ["  -> " + result(walk)]
        } else {
            lines += Self.lines(walk)
        }
        return Report(
            lines: lines,
            json: [("vm", .number(vm)), ("address", .address(address)), ("walk", json(walk))]
                + (way.map { TableReport.json($0) } ?? []))
    }

    static func lines(_ walk: gpuvm_vm_walk_reply) -> [String] {
        levels(walk).map { level in
            """
              level \(level.level)  table \(hex16(level.table))  \
            [\("\(level.index)".aligned(3))] = \(hex16(level.entry))
            """
        } + ["  -> " + result(walk)]
    }

    /// What the walk ended with, in one line.
    static func result(_ walk: gpuvm_vm_walk_reply) -> String {
        switch walk.result {
        case GPUVM_WALK_MEMORY.rawValue:
            let mode = walk.flags & GPUVM_MAPPING_READ_ONLY != 0 ? "read-only" : "read-write"
            return """
                \(Names.placement(walk.placement)) \(hex16(walk.physical_address)), \
                \(size(walk.leaf_bytes)) leaf, \(mode)
                """
        case GPUVM_WALK_NULL.rawValue:
            return "null: reads zero, drops writes (\(size(walk.leaf_bytes)) leaf)"
        default:
            return "fault: no valid entry"
        }
    }

    static func json(_ walk: gpuvm_vm_walk_reply) -> JSON {
        let isMemory = walk.result == GPUVM_WALK_MEMORY.rawValue
        let result =
            switch walk.result {
            case GPUVM_WALK_MEMORY.rawValue: "memory"
            case GPUVM_WALK_NULL.rawValue: "null"
            default: "fault"
            }
        return .object([
            ("result", .string(result)),
            ("physical_address", isMemory ? .address(walk.physical_address) : .null),
            ("placement", isMemory ? .string(Names.placement(walk.placement)) : .null),
            ("leaf_bytes", .number(walk.leaf_bytes)),
            ("read_only", .bool(walk.flags & GPUVM_MAPPING_READ_ONLY != 0)),
            (
                "levels",
                .array(
                    levels(walk).map { level in
                        .object([
                            ("level", .number(level.level)),
                            ("table", .address(level.table)),
                            ("index", .number(level.index)),
                            ("entry", .address(level.entry)),
                        ])
                    })
            ),
        ])
    }

    static func levels(_ walk: gpuvm_vm_walk_reply) -> [gpuvm_walk_level] {
        let count = Int(min(walk.level_count, GPUVM_WALK_MAX_LEVELS))
        return withUnsafeBytes(of: walk.levels) { bytes in
            Array(bytes.bindMemory(to: gpuvm_walk_level.self).prefix(count))
        }
    }
}
