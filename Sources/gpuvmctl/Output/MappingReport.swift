import CWireProtocol

/// A mapping as op lists and fault reports show it.
enum MappingReport {
    /// The interval as the kernel's debugfs prints one, the object and the offset.
    static func text(
        _ mapping: gpuvm_mapping, name: (UInt32) -> String = { "BO \($0)" }
    ) -> String {
        let end = mapping.address &+ mapping.range
        return "[\(hex(mapping.address));\(hex(end))] " + backing(mapping, name: name)
    }

    /// What lies behind a mapping.
    static func backing(
        _ mapping: gpuvm_mapping, name: (UInt32) -> String = { "BO \($0)" }
    ) -> String {
        if mapping.flags & GPUVM_MAPPING_RESERVED != 0 { return "kernel reserved node" }
        if mapping.flags & GPUVM_MAPPING_NULL != 0 { return "null" }
        let object =
            switch mapping.bo {
            case 0: "no BO"
            case GPUVM_FOREIGN_BO: "another client's BO"
            default: name(mapping.bo)
            }
        let mode = mapping.flags & GPUVM_MAPPING_READ_ONLY != 0 ? " ro" : ""
        return "\(object)+\(hex(mapping.offset))\(mode)"
    }

    static func json(_ mapping: gpuvm_mapping) -> JSON {
        .object([
            ("address", .address(mapping.address)),
            ("range", .number(mapping.range)),
            ("offset", .address(mapping.offset)),
            ("bo", mapping.bo == GPUVM_FOREIGN_BO ? .null : .number(mapping.bo)),
            ("flags", .array(Names.mappingFlags(mapping.flags).map { .string($0) })),
        ])
    }
}
