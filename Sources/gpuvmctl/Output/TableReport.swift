import CWireProtocol
import GPUVMClient

/// The bytes of a VM's page tables, with NVIDIA's taken apart.
enum TableReport {
    /// All of it.
    static func dump(vm: UInt32, _ dump: PageTableDump) -> Report {
        var head = "page tables of VM \(vm): \(format(dump)), root \(hex16(dump.rootAddress))"
        if isNVIDIA(dump) {
            head += ", ADDRESS_VID counts from \(hex(dump.vramBase))"
        }
        return Report(
            lines: [head] + lines(dump),
            json: [("vm", .number(vm))] + json(dump))
    }

    /// One line for each entry: what it is for, where it is, its bytes, its fields.
    static func lines(_ dump: PageTableDump) -> [String] {
        dump.entries.map { entry in
            let decoded = isNVIDIA(dump) ? GP100Entry(entry, vramBase: dump.vramBase) : nil
            let name = decoded?.name ?? "L\(entry.level)"
            let place = "\(name)[\(entry.index)]".padded(15)
            let line =
                "  \(hex16(entry.address))  \(place) @\(hex16(entry.table)) = \(hex16(entry.entry))"
            return decoded.map { "\(line)  \($0.text)" } ?? line
        }
    }

    static func json(_ dump: PageTableDump) -> [(String, JSON)] {
        [
            ("format", .string(isNVIDIA(dump) ? "gp100" : "generic48")),
            ("root_address", .address(dump.rootAddress)),
            ("vram_base", .address(dump.vramBase)),
            ("entries", .array(dump.entries.map { json($0, dump) })),
        ]
    }

    private static func json(_ entry: gpuvm_table_entry, _ dump: PageTableDump) -> JSON {
        let decoded = isNVIDIA(dump) ? GP100Entry(entry, vramBase: dump.vramBase) : nil
        var members: [(String, JSON)] = [
            ("address", .address(entry.address)),
            ("name", .string(decoded?.name ?? "L\(entry.level)")),
            ("level", .number(entry.level)),
            ("table", .address(entry.table)),
            ("index", .number(entry.index)),
            ("entry", .address(entry.entry)),
        ]
        if let decoded {
            members.append(
                ("fields", .object(decoded.fields.map { ($0.name, .address($0.value)) })))
            members.append(("summary", decoded.summary.map { .string($0) } ?? .null))
        }
        return .object(members)
    }

    static func isNVIDIA(_ dump: PageTableDump) -> Bool {
        dump.format == GPUVM_TABLE_GP100.rawValue
    }

    private static func format(_ dump: PageTableDump) -> String {
        switch dump.format {
        case GPUVM_TABLE_GENERIC48.rawValue: "the generic format of four levels"
        case GPUVM_TABLE_GP100.rawValue: "NVIDIA NV_MMU_VER2 (GP100 and later)"
        default: "format \(dump.format)"
        }
    }
}
