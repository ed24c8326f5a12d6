/// A page directory entry of GP100 and later, field by field: one word of `NV_MMU_VER2_PDE`, or one
/// half of `NV_MMU_VER2_DUAL_PDE`.
///
/// | Form | Where | Table address |
/// |---|---|---|
/// | single | PDE3, PDE2, PDE1 | bits 53:8 (video 32:8), in units of 4 KiB |
/// | big | PDE0, first word | bits 53:4 (video 32:4), in units of 256 bytes |
/// | small | PDE0, second word | bits 117:72 (video 96:72), in units of 4 KiB |
///
/// Source: NVIDIA's dev_mmu.h for GP100 and open-gpu-doc "Pascal MMU Format Changes".
public struct GP100PDE: Equatable, Sendable {
    /// Which of the three forms.
    public enum Form: Sendable {
        /// PDE1 and above.
        case single
        /// The half of a PDE0 that points to a table of 32 entries of 64 KiB.
        case big
        /// The half of a PDE0 that points to a table of 512 entries of 4 KiB.
        case small
    }

    /// `APERTURE` of a page directory entry.
    public enum Aperture: UInt8, Sendable {
        /// There is no table.
        case invalid = 0
        /// A table in this device's memory.
        case videoMemory = 1
        /// A table in host memory, snooped.
        case systemCoherentMemory = 2
        /// A table in host memory, not snooped.
        case systemNonCoherentMemory = 3
    }

    /// The eight bytes.
    public var rawValue: UInt64
    /// How they are read.
    public let form: Form

    /// Takes an entry as it was read.
    public init(rawValue: UInt64, form: Form) {
        self.rawValue = rawValue
        self.form = form
    }

    /// Bit 0 (`VALID` of a page-table entry): set, the word is no directory entry but maps 2 MiB, which
    /// only PDE0 may do.
    public var isPTE: Bool { rawValue & 1 != 0 }

    /// `APERTURE`, bits 2:1.
    public var aperture: Aperture {
        get { Aperture(rawValue: UInt8((rawValue >> 1) & 3)) ?? .invalid }
        set { rawValue = (rawValue & ~6) | UInt64(newValue.rawValue) << 1 }
    }

    /// `VOL`, bit 3: the table is not cached in L2; in an entry without a table: sparse.
    public var isVolatile: Bool {
        get { rawValue & 8 != 0 }
        set { rawValue = newValue ? rawValue | 8 : rawValue & ~8 }
    }

    /// `ADDRESS_VID` or `ADDRESS_SYS`, by the aperture: the table's address in bytes within it.
    public var address: UInt64 {
        get { ((rawValue & addressMask) >> addressShift) << unitShift }
        set {
            rawValue =
                (rawValue & ~addressMask)
                | (((newValue >> unitShift) << addressShift) & addressMask)
        }
    }

    /// Whether all that the entry spans reads zero and drops writes: no table, and `VOL` 1. The small
    /// half has no such form.
    public var isSparse: Bool { !isPTE && aperture == .invalid && isVolatile && form != .small }

    private var addressShift: UInt64 { form == .big ? 4 : 8 }
    private var unitShift: UInt64 { form == .big ? 8 : 12 }

    private var addressMask: UInt64 {
        let last: UInt64 = aperture == .videoMemory ? 32 : 53
        return ((2 << last) - 1) & ~((1 << addressShift) - 1)
    }
}

extension GP100PDE: CustomStringConvertible {
    /// The fields by NVIDIA's names.
    public var description: String {
        if isPTE { return "VALID=1 (not a PDE)" }
        let suffix =
            switch form {
            case .single: ""
            case .big: "_BIG"
            case .small: "_SMALL"
            }
        if isSparse { return "APERTURE\(suffix)=INVALID VOL\(suffix)=1 (sparse)" }
        if aperture == .invalid { return "APERTURE\(suffix)=INVALID" }
        let space = aperture == .videoMemory ? "VID" : "SYS"
        return "APERTURE\(suffix)=\(aperture) ADDRESS\(suffix)_\(space)="
            + "\(Hexadecimal(address >> unitShift)) (\(Hexadecimal(address)))"
            + (isVolatile ? " VOL\(suffix)=1" : "")
    }
}

extension GP100PDE.Aperture: CustomStringConvertible {
    /// NVIDIA's name.
    public var description: String {
        switch self {
        case .invalid: "INVALID"
        case .videoMemory: "VIDEO_MEMORY"
        case .systemCoherentMemory: "SYSTEM_COHERENT_MEMORY"
        case .systemNonCoherentMemory: "SYSTEM_NON_COHERENT_MEMORY"
        }
    }
}
