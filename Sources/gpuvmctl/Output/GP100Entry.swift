import CWireProtocol

/// An entry of NVIDIA's page tables of GP100 and later, taken apart field by field.
///
/// Names and bits are those of `NV_MMU_VER2_PDE`, `NV_MMU_VER2_DUAL_PDE` and `NV_MMU_VER2_PTE` in
/// NVIDIA's dev_mmu.h for GP100 (open-gpu-doc, "Pascal MMU Format Changes"). A dual PDE comes as its two
/// words; the bits of the second are counted from its own bit 0, 64 less than NVIDIA counts them.
struct GP100Entry {
    /// One field and what it holds.
    struct Field: Equatable {
        var name: String
        var value: UInt64
        /// What the value is called, or the address that it stands for.
        var meaning: String?
    }

    /// PDE3 … PDE0.SMALL, PTE_2M, PTE_64K, PTE_4K.
    let name: String
    /// The fields that the entry has by its form and aperture.
    let fields: [Field]
    /// What the whole of it comes to: "sparse", "invalid"…; nil if the fields say it.
    let summary: String?

    /// Decodes an entry.
    ///
    /// - Parameter vramBase: The physical address that ADDRESS_VID counts from.
    init(_ entry: gpuvm_table_entry, vramBase: UInt64) {
        let raw = entry.entry
        let isBig = UInt32(entry.part) == GPUVM_TABLE_BIG.rawValue
        switch (entry.level, isBig) {
        case (0, true): name = "PTE_64K"
        case (0, false): name = "PTE_4K"
        case (1, true) where raw & 1 != 0: name = "PTE_2M"
        case (1, true): name = "PDE0.BIG"
        case (1, false): name = "PDE0.SMALL"
        default: name = "PDE\(entry.level - 1)"
        }
        if name.hasPrefix("PTE") {
            (fields, summary) = Self.page(raw, vramBase, isBig: isBig)
        } else if entry.level == 1 {
            (fields, summary) = Self.directory(
                raw, isBig ? "_BIG" : "_SMALL", addressShift: isBig ? 4 : 8, vramBase)
        } else {
            (fields, summary) = Self.directory(raw, "", addressShift: 8, vramBase)
        }
    }

    /// The fields in one line.
    var text: String {
        let list = fields.map { field in
            let digits = field.value < 2 ? "\(field.value)" : hex(field.value)
            return "\(field.name)=" + (field.meaning.map { "\(digits)(\($0))" } ?? digits)
        }
        return (list + (summary.map { ["-> \($0)"] } ?? [])).joined(separator: " ")
    }

    private static func bits(_ raw: UInt64, _ high: Int, _ low: Int) -> UInt64 {
        raw >> UInt64(low) & ((2 << UInt64(high - low)) - 1)
    }

    private static func page(
        _ raw: UInt64, _ vramBase: UInt64, isBig: Bool
    ) -> ([Field], String?) {
        let isValid = raw & 1 != 0
        var fields = [Field(name: "VALID", value: raw & 1)]
        func add(_ name: String, _ high: Int, _ low: Int, _ meaning: String? = nil) {
            fields.append(Field(name: name, value: bits(raw, high, low), meaning: meaning))
        }
        let aperture = bits(raw, 2, 1)
        if isValid { add("APERTURE", 2, 1, pageApertures[Int(aperture)]) }
        add("VOL", 3, 3)
        guard isValid else {
            if raw & 8 != 0 { return (fields, "sparse") }
            add("PRIVILEGE", 5, 5)
            // Where nothing lies below, the driver's mark of memory that was evicted.
            if raw & 0x20 != 0, isBig { return (fields, "the 4K PTEs below are ignored") }
            return (fields, "invalid")
        }
        add("ENCRYPTED", 4, 4)
        add("PRIVILEGE", 5, 5)
        add("READ_ONLY", 6, 6)
        add("ATOMIC_DISABLE", 7, 7)
        if aperture < 2 {
            let address = bits(raw, 32, 8) << 12
            add("ADDRESS_VID", 32, 8, aperture == 0 ? hex(vramBase &+ address) : nil)
            if aperture == 1 { add("ADDRESS_VID_PEER", 35, 33) }
            add("COMPTAGLINE", 53, 36)
        } else {
            add("ADDRESS_SYS", 53, 8, hex(bits(raw, 53, 8) << 12))
        }
        add("KIND", 63, 56)
        return (fields, nil)
    }

    private static func directory(
        _ raw: UInt64, _ suffix: String, addressShift: Int, _ vramBase: UInt64
    ) -> ([Field], String?) {
        let aperture = bits(raw, 2, 1)
        var fields: [Field] = []
        if suffix != "_SMALL" { fields.append(Field(name: "IS_PTE", value: raw & 1)) }
        fields.append(
            Field(
                name: "APERTURE" + suffix, value: aperture,
                meaning: directoryApertures[Int(aperture)]))
        fields.append(Field(name: "VOL" + suffix, value: bits(raw, 3, 3)))
        guard aperture != 0 else {
            let isSparse = raw & 8 != 0 && suffix != "_SMALL"
            return (fields, isSparse ? "sparse" : "no table")
        }
        let isVideo = aperture == 1
        let frame = bits(raw, isVideo ? 32 : 53, addressShift)
        // Units of 4 KiB, of 256 bytes for a big table.
        let address = frame << (addressShift == 4 ? 8 : 12)
        fields.append(
            Field(
                name: "ADDRESS\(suffix)_\(isVideo ? "VID" : "SYS")", value: frame,
                meaning: hex(isVideo ? vramBase &+ address : address)))
        return (fields, nil)
    }

    private static let pageApertures = [
        "VIDEO_MEMORY", "PEER_MEMORY", "SYSTEM_COHERENT_MEMORY", "SYSTEM_NON_COHERENT_MEMORY",
    ]
    private static let directoryApertures = [
        "INVALID", "VIDEO_MEMORY", "SYSTEM_COHERENT_MEMORY", "SYSTEM_NON_COHERENT_MEMORY",
    ]
}
