/// A page-table entry of GP100 and later, field by field.
///
/// It maps 4 KiB in a small table, 64 KiB in a big one, and 2 MiB in the place of a dual page
/// directory entry. The fields are those of `NV_MMU_VER2_PTE` (NVIDIA's dev_mmu.h for GP100, open-gpu-doc
/// "Pascal MMU Format Changes").
public struct GP100PTE: RawRepresentable, Equatable, Sendable {
    /// `APERTURE` of a page-table entry.
    public enum Aperture: UInt8, Sendable {
        /// This device's memory.
        case videoMemory = 0
        /// Another device's memory, named by `ADDRESS_VID_PEER`.
        case peerMemory = 1
        /// Host memory, snooped.
        case systemCoherentMemory = 2
        /// Host memory, not snooped.
        case systemNonCoherentMemory = 3
    }

    /// The eight bytes.
    public var rawValue: UInt64

    /// Takes an entry as it was read.
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// `VALID`, bit 0.
    public var isValid: Bool {
        get { self[0, 1] != 0 }
        set { self[0, 1] = newValue ? 1 : 0 }
    }

    /// `APERTURE`, bits 2:1.
    public var aperture: Aperture {
        get { Aperture(rawValue: UInt8(self[1, 2])) ?? .videoMemory }
        set { self[1, 2] = UInt64(newValue.rawValue) }
    }

    /// `VOL`, bit 3: not cached in L2; in an entry that is not valid: sparse.
    public var isVolatile: Bool {
        get { self[3, 1] != 0 }
        set { self[3, 1] = newValue ? 1 : 0 }
    }

    /// `ENCRYPTED`, bit 4.
    public var isEncrypted: Bool {
        get { self[4, 1] != 0 }
        set { self[4, 1] = newValue ? 1 : 0 }
    }

    /// `PRIVILEGE`, bit 5; in a big entry that is not valid: the small entries below are ignored.
    public var isPrivileged: Bool {
        get { self[5, 1] != 0 }
        set { self[5, 1] = newValue ? 1 : 0 }
    }

    /// `READ_ONLY`, bit 6.
    public var isReadOnly: Bool {
        get { self[6, 1] != 0 }
        set { self[6, 1] = newValue ? 1 : 0 }
    }

    /// `ATOMIC_DISABLE`, bit 7.
    public var isAtomicDisabled: Bool {
        get { self[7, 1] != 0 }
        set { self[7, 1] = newValue ? 1 : 0 }
    }

    /// `ADDRESS_VID`, bits 32:8, in units of 4 KiB: below 2^25.
    public var videoFrame: UInt64 {
        get { self[8, 25] }
        set { self[8, 25] = newValue }
    }

    /// `ADDRESS_VID_PEER`, bits 35:33: 0…7.
    public var peer: UInt64 {
        get { self[33, 3] }
        set { self[33, 3] = newValue }
    }

    /// `COMPTAGLINE`, bits 53:36, of a compressed page in video memory.
    public var compressionTagLine: UInt64 {
        get { self[36, 18] }
        set { self[36, 18] = newValue }
    }

    /// `ADDRESS_SYS`, bits 53:8, in units of 4 KiB: below 2^46.
    public var systemFrame: UInt64 {
        get { self[8, 46] }
        set { self[8, 46] = newValue }
    }

    /// `KIND`, bits 63:56: how the memory's content is laid out.
    public var kind: UInt8 {
        get { UInt8(self[56, 8]) }
        set { self[56, 8] = UInt64(newValue) }
    }

    /// Whether reads give zero and writes are dropped: `VALID` 0 and `VOL` 1.
    public var isSparse: Bool { !isValid && isVolatile }

    /// Whether a big entry hides the small entries below it without mapping anything: `VALID` and
    /// `VOL` 0, `PRIVILEGE` 1.
    public var hidesSmallEntries: Bool { !isValid && !isVolatile && isPrivileged }

    /// A part of the eight bytes; a new value is cut to the field's width.
    private subscript(_ low: UInt64, _ width: UInt64) -> UInt64 {
        get { (rawValue &>> low) & ((1 &<< width) &- 1) }
        set {
            let mask: UInt64 = ((1 &<< width) &- 1) &<< low
            rawValue = (rawValue & ~mask) | ((newValue &<< low) & mask)
        }
    }
}

extension GP100PTE: CustomStringConvertible {
    /// The fields by NVIDIA's names; those that are zero and say nothing are left out.
    public var description: String {
        guard isValid else {
            if isSparse { return "VALID=0 VOL=1 (sparse)" }
            if hidesSmallEntries { return "VALID=0 PRIVILEGE=1 (4K PTEs ignored)" }
            return rawValue == 0 ? "VALID=0" : "VALID=0 (\(Hexadecimal(rawValue)))"
        }
        var text = "VALID=1 APERTURE=\(aperture)"
        switch aperture {
        case .videoMemory, .peerMemory:
            text += " ADDRESS_VID=\(Hexadecimal(videoFrame))"
            if aperture == .peerMemory || peer != 0 { text += " ADDRESS_VID_PEER=\(peer)" }
            if compressionTagLine != 0 { text += " COMPTAGLINE=\(compressionTagLine)" }
        case .systemCoherentMemory, .systemNonCoherentMemory:
            text += " ADDRESS_SYS=\(Hexadecimal(systemFrame))"
        }
        if isVolatile { text += " VOL=1" }
        if isEncrypted { text += " ENCRYPTED=1" }
        if isPrivileged { text += " PRIVILEGE=1" }
        if isReadOnly { text += " READ_ONLY=1" }
        if isAtomicDisabled { text += " ATOMIC_DISABLE=1" }
        return text + " KIND=\(Hexadecimal(UInt64(kind)))"
    }
}

extension GP100PTE.Aperture: CustomStringConvertible {
    /// NVIDIA's name.
    public var description: String {
        switch self {
        case .videoMemory: "VIDEO_MEMORY"
        case .peerMemory: "PEER_MEMORY"
        case .systemCoherentMemory: "SYSTEM_COHERENT_MEMORY"
        case .systemNonCoherentMemory: "SYSTEM_NON_COHERENT_MEMORY"
        }
    }
}
