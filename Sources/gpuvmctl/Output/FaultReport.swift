import CWireProtocol

/// A fault as a driver prints it.
enum FaultReport {
    static func lines(
        _ fault: gpuvm_fault_record, name: (UInt32) -> String = { "BO \($0)" }
    ) -> [String] {
        var lines = [
            """
            fault \(fault.id): \(Names.access(fault.access)) of \(hex(fault.address)): \
            \(Names.reason(fault.reason)), level \(fault.level)
            """,
            """
              VM \(fault.vm), client \(fault.client_id), queue \(fault.queue), engine \
            copy\(fault.engine_instance), command at \(hex(fault.command_address))
            """,
        ]
        lines.append(
            neighbour("below", fault.below, fault.flags & GPUVM_FAULT_HAS_BELOW != 0, name))
        lines.append(
            neighbour("above", fault.above, fault.flags & GPUVM_FAULT_HAS_ABOVE != 0, name))
        if fault.flags & GPUVM_FAULT_HAS_LAST_OP != 0 {
            lines.append(
                """
                  last op: \(Names.bindOperation(fault.last_op_kind)) of \
                \(interval(fault.last_op_address, fault.last_op_range)), \
                \(before(fault.last_op_time, fault.timestamp))
                """)
        } else {
            lines.append("  last op: none touched this address")
        }
        return lines
    }

    static func json(_ fault: gpuvm_fault_record) -> JSON {
        let hasBelow = fault.flags & GPUVM_FAULT_HAS_BELOW != 0
        let hasAbove = fault.flags & GPUVM_FAULT_HAS_ABOVE != 0
        let hasLastOp = fault.flags & GPUVM_FAULT_HAS_LAST_OP != 0
        return .object([
            ("id", .number(fault.id)),
            ("timestamp_ns", .number(fault.timestamp)),
            ("vm", .number(fault.vm)),
            ("client", .number(fault.client_id)),
            ("queue", .number(fault.queue)),
            ("engine", .string("copy\(fault.engine_instance)")),
            ("address", .address(fault.address)),
            ("access", .string(Names.access(fault.access))),
            ("reason", .string(Names.reason(fault.reason))),
            ("level", .number(fault.level)),
            ("command_address", .address(fault.command_address)),
            ("below", hasBelow ? MappingReport.json(fault.below) : .null),
            ("above", hasAbove ? MappingReport.json(fault.above) : .null),
            (
                "last_op",
                hasLastOp
                    ? .object([
                        ("kind", .string(Names.bindOperation(fault.last_op_kind))),
                        ("address", .address(fault.last_op_address)),
                        ("range", .number(fault.last_op_range)),
                        ("timestamp_ns", .number(fault.last_op_time)),
                    ]) : .null
            ),
        ])
    }

    private static func neighbour(
        _ side: String, _ mapping: gpuvm_mapping, _ exists: Bool,
        _ name: (UInt32) -> String
    ) -> String {
        "  \(side): " + (exists ? MappingReport.text(mapping, name: name) : "no mapping")
    }

    private static func interval(_ address: UInt64, _ range: UInt64) -> String {
        "[\(hex(address));\(hex(address &+ range))]"
    }

    private static func before(_ time: UInt64, _ fault: UInt64) -> String {
        guard time <= fault else { return "after the fault" }
        return "\(microseconds(fault - time)) us before"
    }
}
