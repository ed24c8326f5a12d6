import CWireProtocol
import SystemPackage
import WireProtocol

/// The protocol's numbers in words.
enum Names {
    static func engine(_ engineClass: UInt16, _ instance: UInt16) -> String {
        switch UInt32(engineClass) {
        case GPUVM_ENGINE_COPY.rawValue: "copy\(instance)"
        case GPUVM_ENGINE_BIND.rawValue: "bind"
        default: "class\(engineClass).\(instance)"
        }
    }

    static func priority(_ value: UInt32) -> String {
        switch value {
        case 0: "low"
        case 1: "normal"
        case 2: "high"
        default: "\(value)"
        }
    }

    static func access(_ value: UInt32) -> String {
        switch value {
        case GPUVM_ACCESS_READ.rawValue: "read"
        case GPUVM_ACCESS_WRITE.rawValue: "write"
        case GPUVM_ACCESS_FETCH.rawValue: "fetch"
        default: "access \(value)"
        }
    }

    static func reason(_ value: UInt32) -> String {
        switch value {
        case GPUVM_FAULT_NOT_MAPPED.rawValue: "not mapped"
        case GPUVM_FAULT_READ_ONLY.rawValue: "read-only"
        case GPUVM_FAULT_OUT_OF_RANGE.rawValue: "out of range"
        case GPUVM_FAULT_MACHINE_CHECK.rawValue: "machine check: the frame has no owner"
        case GPUVM_FAULT_VM_CLOSED.rawValue: "VM closed"
        case GPUVM_FAULT_BAD_COMMAND.rawValue: "bad command"
        case GPUVM_FAULT_MISSING_BARRIER.rawValue: "missing barrier"
        case GPUVM_FAULT_BIND_REFUSED.rawValue: "bind refused"
        default: "reason \(value)"
        }
    }

    /// What is wrong between two copies.
    static func hazard(_ value: UInt32) -> String {
        switch value {
        case GPUVM_HAZARD_READ_AFTER_WRITE.rawValue: "read after write"
        case GPUVM_HAZARD_WRITE_AFTER_WRITE.rawValue: "write after write"
        case GPUVM_HAZARD_WRITE_AFTER_READ.rawValue: "write after read"
        default: "hazard \(value)"
        }
    }

    /// What the later and the earlier copy of a hazard do.
    static func hazardDeeds(_ value: UInt32) -> (later: String, earlier: String) {
        switch value {
        case GPUVM_HAZARD_READ_AFTER_WRITE.rawValue: ("reads", "writes")
        case GPUVM_HAZARD_WRITE_AFTER_READ.rawValue: ("writes", "reads")
        default: ("writes", "writes")
        }
    }

    static func bindOperation(_ value: UInt32) -> String {
        switch value {
        case GPUVM_BIND_MAP.rawValue: "MAP"
        case GPUVM_BIND_UNMAP.rawValue: "UNMAP"
        case GPUVM_BIND_MAP_NULL.rawValue: "MAP_NULL"
        case GPUVM_BIND_UNMAP_ALL.rawValue: "UNMAP_ALL"
        case GPUVM_BIND_PREFETCH.rawValue: "PREFETCH"
        default: "op \(value)"
        }
    }

    static func operation(_ record: gpuvm_op_record) -> String {
        let name =
            switch record.kind {
            case GPUVM_OP_MAP.rawValue: "MAP"
            case GPUVM_OP_REMAP.rawValue: "REMAP"
            case GPUVM_OP_UNMAP.rawValue: "UNMAP"
            case GPUVM_OP_PREFETCH.rawValue: "PREFETCH"
            default: "op \(record.kind)"
            }
        return record.flags & GPUVM_OP_KEEP != 0 ? name + " keep" : name
    }

    static func placement(_ value: UInt32) -> String {
        switch value {
        case GPUVM_PLACE_VRAM: "VRAM"
        case GPUVM_PLACE_SYSTEM: "system"
        default: "place \(value)"
        }
    }

    /// The mapping's flags; empty for a plain read-write one.
    static func mappingFlags(_ flags: UInt32) -> [String] {
        var names: [String] = []
        if flags & GPUVM_MAPPING_READ_ONLY != 0 { names.append("ro") }
        if flags & GPUVM_MAPPING_NULL != 0 { names.append("null") }
        if flags & GPUVM_MAPPING_RESERVED != 0 { names.append("reserved") }
        if flags & GPUVM_MAPPING_EVICTED != 0 { names.append("evicted") }
        return names
    }

    /// What a buffer was created with.
    static func bufferFlags(_ flags: UInt32) -> [String] {
        var names: [String] = []
        if flags & GPUVM_BO_LOCAL != 0 { names.append("local") }
        if flags & GPUVM_BO_NO_CPU_ACCESS != 0 { names.append("no-cpu") }
        return names
    }

    static func vmFlags(_ flags: UInt32) -> [String] {
        var names: [String] = []
        if flags & GPUVM_VM_BANNED != 0 { names.append("banned") }
        if flags & GPUVM_VM_CLOSED != 0 { names.append("closed") }
        if flags & GPUVM_VM_IS_IMMEDIATE != 0 { names.append("immediate") }
        if flags & GPUVM_VM_IS_WEAK != 0 { names.append("weak") }
        return names
    }

    static func errno(_ value: UInt32) -> String {
        Errno(rawValue: Int32(clamping: value)).symbol
    }

    static func text(_ bytes: WireName.Bytes) -> String { WireName.display(bytes).printable }
}
