/// The page-table format of NVIDIA GP100 and later (Pascal, Volta, Turing, Ampere, Ada): 49-bit addresses
/// in five levels.
///
/// | Level | Table | Index bits | Entries | An entry spans | May be a leaf |
/// |---|---|---|---|---|---|
/// | 4 (root) | PDE3 | 48…47 | 4 × 8 bytes | 128 TiB | sparse only |
/// | 3 | PDE2 | 46…38 | 512 × 8 bytes | 256 GiB | sparse only |
/// | 2 | PDE1 | 37…29 | 512 × 8 bytes | 512 MiB | sparse only |
/// | 1 | PDE0 | 28…21 | 256 × 16 bytes | 2 MiB | yes |
/// | 0 | PTE, big | 20…16 | 32 × 8 bytes | 64 KiB | always |
/// | 0 | PTE, small | 20…12 | 512 × 8 bytes | 4 KiB | always |
///
/// A PDE0 is two words: one that maps 2 MiB or points to a table of 64 KiB entries, one that points to a
/// table of 4 KiB entries. The MMU looks into the big table first and into the small one only where
/// the big entry says nothing (see ``GP100PTE/hidesSmallEntries``).
///
/// The device's one physical address space is two apertures here: video memory from `vramBase` on,
/// with addresses relative to it, and host memory below, with its own addresses.
///
/// Source: open-gpu-doc "Pascal MMU Format Changes" (sizes, index bits), NVIDIA's dev_mmu.h for GP100
/// (fields), nouveau's vmmgp100.c (sparse and ignored entries, `VOL` of host memory).
public struct GP100Format: Sendable {
    /// Where video memory begins in the device's physical address space.
    public let vramBase: PhysicalAddress

    /// The format for a device whose video memory begins at `vramBase`.
    public init(vramBase: PhysicalAddress) { self.vramBase = vramBase }

    /// Virtual addresses are below 2^49.
    public static var addressBits: Int { 49 }
    /// PDE3.
    public static var rootLevel: Int { 4 }
    /// Video memory has at most 2^37 bytes: 25 bits of frames.
    public static var videoBytes: UInt64 { 1 << 37 }
    /// Host memory's addresses are below 2^47.
    public static var systemBytes: UInt64 { 1 << 47 }

    static let valid: UInt64 = 1 << 0
    static let volatile: UInt64 = 1 << 3
    static let privileged: UInt64 = 1 << 5
    static let readOnly: UInt64 = 1 << 6
    static let apertureMask: UInt64 = 3 << 1
    /// The entry, of any level, that reads zero and drops writes.
    static let sparse: UInt64 = volatile
    /// The entry of a page table, or in the place of a PDE0's first word, that maps nothing and keeps its
    /// place: memory was taken away from there. Hardware looks at the bit in big entries only, where it
    /// hides the small ones, which are invalid there in any case.
    static let held: UInt64 = privileged
    /// Bits 32:8 and 53:8.
    static let videoMask: UInt64 = ((1 << 25) - 1) << 8
    static let systemMask: UInt64 = ((1 << 46) - 1) << 8
    /// What neighbouring 4 KiB entries of a run differ by.
    static let pageStep: UInt64 = frameSize >> 4
    /// `NV_MMU_PTE_KIND_INVALID`.
    static let invalidKind: UInt64 = 0xff
    /// `ENCRYPTED` and `PRIVILEGE`, which no mapping of a client has, and two reserved bits.
    static let forbidden: UInt64 = 1 << 4 | privileged | 3 << 54

    /// 16, 21, 29, 38, 47: the address bits below an index; level 0 is the big table.
    @inline(__always)
    static func shift(_ level: Int) -> UInt64 {
        switch level {
        case 0: 16
        case 1: 21
        case 2: 29
        case 3: 38
        default: 47
        }
    }

    @inline(__always)
    static func span(_ level: Int) -> UInt64 { 1 &<< shift(level) }

    /// An address's index into the table of a level.
    @inline(__always)
    static func index(_ address: UInt64, _ level: Int) -> Int {
        let mask: UInt64 =
            switch level {
            case 0: 31
            case 1: 255
            case 4: 3
            default: 511
            }
        return Int(truncatingIfNeeded: (address &>> shift(level)) & mask)
    }

    /// The number of entries of a table above the page tables.
    static func entryCount(_ level: Int) -> Int { level == 1 ? 256 : level == rootLevel ? 4 : 512 }

    /// Whether an entry can name all of `bytes` bytes at `address`.
    func reaches(_ address: PhysicalAddress, bytes: UInt64) -> Bool {
        if address >= vramBase {
            let offset = address - vramBase
            return offset < Self.videoBytes && bytes <= Self.videoBytes - offset
        }
        return address < Self.systemBytes && bytes <= min(vramBase, Self.systemBytes) - address
    }

    /// The entry that maps memory, of any of the three sizes.
    @inline(__always)
    func memoryEntry(_ address: PhysicalAddress, flags: PTEFlags, kind: UInt8) -> UInt64 {
        var entry = Self.valid | UInt64(kind) &<< 56
        if flags.contains(.readOnly) { entry |= Self.readOnly }
        return entry
            | (address >= vramBase
                ? (address &- vramBase) &>> 4 : address &>> 4 | 2 &<< 1 | Self.volatile)
    }

    /// The directory entry that points to a table, in the single and in the small form.
    @inline(__always)
    func tableEntry(_ table: PhysicalAddress) -> UInt64 {
        table >= vramBase
            ? (table &- vramBase) &>> 4 | 1 &<< 1 : table &>> 4 | 2 &<< 1 | Self.volatile
    }

    /// The half of a PDE0 that points to a big table; the units of its address are 256 bytes at bit 4, so
    /// that the bits are those of the other forms.
    @inline(__always)
    func bigTableEntry(_ table: PhysicalAddress) -> UInt64 { tableEntry(table) }

    /// The table that an entry with an aperture points to; `unit` is 4096 or, for the big half, 256.
    @inline(__always)
    func table(_ entry: UInt64, unit: UInt64 = 4096) -> PhysicalAddress {
        let low: UInt64 = unit &>> 4
        if entry & Self.apertureMask == 1 &<< 1 {
            return vramBase &+ (entry & (Self.videoMask | 0xf0) & ~(low &- 1)) &<< 4
        }
        return (entry & (Self.systemMask | 0xf0) & ~(low &- 1)) &<< 4
    }

    /// What a page-table entry means, where a leaf has `1 << sizeShift` bytes.
    ///
    /// No client's mapping is privileged, encrypted or another device's, so an entry that says so is
    /// malformed. `ATOMIC_DISABLE` and `COMPTAGLINE` change nothing for loads and stores.
    @inline(__always)
    func decode(_ entry: UInt64, sizeShift: UInt64) -> PageTableEntry {
        if entry & Self.valid == 0 {
            return entry & Self.volatile != 0 ? .null([], contiguous: false) : .invalid
        }
        let physical: PhysicalAddress
        switch (entry & Self.apertureMask) &>> 1 {
        case 0:
            guard entry & (7 &<< 33) == 0 else { return .malformed }
            physical = vramBase &+ (entry & Self.videoMask) &<< 4
        case 1:
            return .malformed
        default:
            physical = (entry & Self.systemMask) &<< 4
        }
        guard entry & Self.forbidden == 0, entry &>> 56 != Self.invalidKind,
            physical & ((1 &<< sizeShift) &- 1) == 0
        else { return .malformed }
        return .memory(physical, entry & Self.readOnly == 0 ? [] : .readOnly, contiguous: false)
    }
}
