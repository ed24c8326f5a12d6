import GPUVMCore
import PageTables

/// What a mapping is and allows.
public struct MappingFlags: OptionSet, Sendable, Equatable {
    /// The bits, as the wire has them.
    public let rawValue: UInt32

    /// Makes a set from its bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// A write through the mapping faults.
    public static let readOnly = MappingFlags(rawValue: 1)
    /// Reads zero and drops writes.
    public static let null = MappingFlags(rawValue: 2)
    /// The range that the driver keeps for itself.
    public static let reserved = MappingFlags(rawValue: 4)
    /// The buffer is evicted: no page-table entries until the next exec brings it back.
    public static let evicted = MappingFlags(rawValue: 8)

    init(_ flags: GPUVAFlags) {
        self = []
        if flags.contains(.readOnly) { insert(.readOnly) }
        if flags.contains(.sparse) { insert(.null) }
    }
}

extension GPUVAFlags {
    /// The VA's page-table entries are not writable.
    static let readOnly = GPUVAFlags.user(0)
    /// What the pieces of a mapping that is cut have in common with it.
    static let mappingKind: GPUVAFlags = [.readOnly, .sparse, .pteKindMask]

    private static let pteKindMask = GPUVAFlags(rawValue: 0xff << pteKindShift)
    private static let pteKindShift: UInt32 = 16

    /// The bits of a PTE kind.
    static func pteKind(_ kind: UInt8) -> GPUVAFlags {
        GPUVAFlags(rawValue: UInt32(kind) << pteKindShift)
    }

    /// What page-table entries of the mapping allow.
    var pteFlags: PTEFlags { contains(.readOnly) ? .readOnly : [] }

    /// How the hardware lays the memory's content out; 0 is linear.
    var pteKind: UInt8 { UInt8(truncatingIfNeeded: rawValue >> Self.pteKindShift) }
}
