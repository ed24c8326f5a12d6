import CWireProtocol

/// A fault as a driver prints it.
enum FaultReport {
    static func lines(
        _ fault: gpuvm_fault_record, name: (UInt32) -> String = { "BO \($0)" }
    ) -> [String] {
        switch fault.reason {
        case GPUVM_FAULT_BIND_REFUSED.rawValue: return refusal(fault, name: name)
        case GPUVM_FAULT_MISSING_BARRIER.rawValue: return hazard(fault, name: name)
        default: break
        }
        var lines = [
            """
            fault \(fault.id): \(injected(fault))\(Names.access(fault.access)) of \
            \(hex(fault.address)): \(Names.reason(fault.reason)), level \(fault.level)
            """, who(fault),
        ]
        lines += surroundings(fault, name: name)
        if fault.flags & GPUVM_FAULT_HAS_LAST_OP != 0 {
            lines.append(
                """
                  last op: \(Names.bindOperation(fault.last_op_kind)) of \
                \(interval(fault.last_op_address, fault.last_op_range)), \
                \(before(fault.last_op_time, fault.timestamp))
                """)
            if fault.reason == GPUVM_FAULT_NOT_MAPPED.rawValue,
                fault.flags & GPUVM_FAULT_IS_INJECTED == 0,
                fault.last_op_kind == GPUVM_BIND_UNMAP.rawValue
                    || fault.last_op_kind == GPUVM_BIND_UNMAP_ALL.rawValue
            {
                lines.append("  so it is memory that was freed, and is used still")
            }
        } else {
            lines.append("  last op: none touched this address")
        }
        return lines
    }

    /// A missing barrier between two copies.
    private static func hazard(
        _ fault: gpuvm_fault_record, name: (UInt32) -> String
    ) -> [String] {
        let deeds = Names.hazardDeeds(fault.detail)
        let consequence =
            fault.flags & GPUVM_FAULT_IS_ORDERED != 0
            ? "this GPU carries them out in order; another one need not"
            : "they may overlap"
        var lines = [
            """
            fault \(fault.id): missing barrier: \(Names.hazard(fault.detail)) of \
            \(interval(fault.address, fault.last_op_range))
            """,
            """
              the copy at \(hex(fault.command_address)) \(deeds.later) what the copy at \
            \(hex(fault.last_op_address)) \(deeds.earlier), and nothing orders them: \(consequence)
            """,
            who(fault),
        ]
        lines += surroundings(fault, name: name)
        if fault.flags & GPUVM_FAULT_IS_INCOMPLETE != 0 {
            lines.append("  not all copies of the job were compared")
        }
        return lines
    }

    /// A bind that a DRM driver asked for in vain.
    private static func refusal(
        _ fault: gpuvm_fault_record, name: (UInt32) -> String
    ) -> [String] {
        let asked = interval(fault.last_op_address, fault.last_op_range)
        var source = ""
        if fault.command_address != 0 {
            source = """
                 from \(hex(fault.above.offset)) of \
                \(fault.above.bo == GPUVM_FOREIGN_BO ? "another client's BO" : name(fault.above.bo)), \
                which has \
                \(hex(fault.command_address)) bytes
                """
        }
        return [
            """
            fault \(fault.id): bind refused with errno \(fault.detail): \
            \(Names.bindOperation(fault.last_op_kind)) of \(asked)\(source)
            """,
            "  VM \(fault.vm), client \(fault.client_id)",
            neighbour("below", fault.below, fault.flags & GPUVM_FAULT_HAS_BELOW != 0, name),
        ]
    }

    private static func injected(_ fault: gpuvm_fault_record) -> String {
        fault.flags & GPUVM_FAULT_IS_INJECTED != 0 ? "injected by rule \(fault.detail): " : ""
    }

    private static func who(_ fault: gpuvm_fault_record) -> String {
        """
          VM \(fault.vm), client \(fault.client_id), queue \(fault.queue), engine \
        copy\(fault.engine_instance), command at \(hex(fault.command_address))
        """
    }

    private static func surroundings(
        _ fault: gpuvm_fault_record, name: (UInt32) -> String
    ) -> [String] {
        [
            neighbour("below", fault.below, fault.flags & GPUVM_FAULT_HAS_BELOW != 0, name),
            neighbour("above", fault.above, fault.flags & GPUVM_FAULT_HAS_ABOVE != 0, name),
        ]
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
            (
                "injected_by",
                fault.flags & GPUVM_FAULT_IS_INJECTED != 0 ? .number(fault.detail) : .null
            ),
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
            ("hazard", hazardJSON(fault)),
            ("refused_bind", refusalJSON(fault)),
        ])
    }

    private static func hazardJSON(_ fault: gpuvm_fault_record) -> JSON {
        guard fault.reason == GPUVM_FAULT_MISSING_BARRIER.rawValue else { return .null }
        return .object([
            ("kind", .string(Names.hazard(fault.detail))),
            ("bytes", .number(fault.last_op_range)),
            ("earlier_command", .address(fault.last_op_address)),
            ("ordered_by_hardware", .bool(fault.flags & GPUVM_FAULT_IS_ORDERED != 0)),
            ("incomplete", .bool(fault.flags & GPUVM_FAULT_IS_INCOMPLETE != 0)),
        ])
    }

    private static func refusalJSON(_ fault: gpuvm_fault_record) -> JSON {
        guard fault.reason == GPUVM_FAULT_BIND_REFUSED.rawValue else { return .null }
        return .object([
            ("errno", .number(fault.detail)),
            ("kind", .string(Names.bindOperation(fault.last_op_kind))),
            ("mapping", MappingReport.json(fault.above)),
            ("bo_bytes", .number(fault.command_address)),
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
