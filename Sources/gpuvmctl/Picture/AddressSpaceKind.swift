import CWireProtocol

/// What an address of a VA space leads to, as a picture tells them apart.
enum AddressSpaceKind: Int, CaseIterable {
    case vram
    case system
    case evicted
    case null
    case sparse

    /// What a mapping is.
    init(_ mapping: gpuvm_va_record) {
        if mapping.flags & GPUVM_MAPPING_NULL != 0 || mapping.object == 0 {
            self = .null
        } else if mapping.flags & GPUVM_MAPPING_EVICTED != 0 {
            self = .evicted
        } else {
            self = mapping.placement == GPUVM_PLACE_VRAM ? .vram : .system
        }
    }

    /// The character of a cell that holds nothing else.
    var full: Character {
        switch self {
        case .vram: "V"
        case .system: "S"
        case .evicted: "E"
        case .null: "N"
        case .sparse: "="
        }
    }

    /// The character of a cell that holds mostly this.
    var partial: Character {
        switch self {
        case .vram: "v"
        case .system: "s"
        case .evicted: "e"
        case .null: "n"
        case .sparse: "-"
        }
    }

    /// What the legend says.
    var meaning: String {
        switch self {
        case .vram: "VRAM"
        case .system: "system memory"
        case .evicted: "evicted"
        case .null: "null (reads zero)"
        case .sparse: "sparse, nothing mapped"
        }
    }

    /// SGR foreground colour.
    var color: Int {
        switch self {
        case .vram: 32
        case .system: 36
        case .evicted: 31
        case .null: 35
        case .sparse: 33
        }
    }

    /// What stands for addresses that lead nowhere.
    static let hole: Character = "."
    /// What stands below addresses of a sparse region.
    static let region: Character = "~"
}
