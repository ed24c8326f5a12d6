/// The generic format: 48-bit addresses in four levels of nine bits each, above frames of 4 KiB.
///
/// | Level | Index bits | An entry spans | May be a leaf |
/// |---|---|---|---|
/// | 3 (root) | 47…39 | 512 GiB | no |
/// | 2 | 38…30 | 1 GiB | yes |
/// | 1 | 29…21 | 2 MiB | yes |
/// | 0 | 20…12 | 4 KiB | always |
///
/// | Bit of an entry | Name | Meaning |
/// |---|---|---|
/// | 0 | V | valid; an entry without it is all zero |
/// | 1 | L | leaf: 1 maps memory, 0 points to the next table; always 1 on level 0, 0 on level 3 |
/// | 2 | W | writable (leaves only) |
/// | 3 | N | null: reads zero, drops writes; the address is zero (leaves only) |
/// | 4 | C | contiguous hint: the 16 entries of the aligned group map one 64 KiB leaf (level 0 only) |
/// | 5…11 | | zero |
/// | 12…51 | A | address of the frame or of the table |
/// | 52…63 | | zero |
///
/// The layout is this project's own; its shape is the common one of x86-64, of Intel's GPUs
/// (PDE/PTE of four levels) and, for the contiguous hint, of Armv8's bit 52.
public enum Generic48Format: PageTableFormat {
    static let valid: UInt64 = 1 << 0
    static let leaf: UInt64 = 1 << 1
    static let writable: UInt64 = 1 << 2
    static let null: UInt64 = 1 << 3
    static let contiguous: UInt64 = 1 << 4
    static let addressMask: UInt64 = 0x000f_ffff_ffff_f000
    static let known: UInt64 = addressMask | 0x1f

    /// Shown in reports.
    public static var name: StaticString { "generic48" }
    /// Virtual addresses are below 2^48.
    public static var addressBits: Int { 48 }
    /// Four levels.
    public static var rootLevel: Int { 3 }
    /// 1 GiB.
    public static var largestLeafLevel: Int { 2 }
    /// 16 × 4 KiB = 64 KiB.
    public static var contiguousEntries: Int { 16 }
    /// Bit 4.
    public static var contiguousHint: UInt64 { contiguous }

    /// 12, 21, 30, 39.
    @inline(__always)
    public static func shift(_ level: Int) -> UInt64 {
        12 &+ 9 &* UInt64(truncatingIfNeeded: level)
    }

    /// V and the address.
    @inline(__always)
    public static func tableEntry(_ table: PhysicalAddress) -> UInt64 { table | valid }

    /// V, L, the address, and W unless read-only.
    @inline(__always)
    public static func memoryEntry(
        _ address: PhysicalAddress, level: Int, flags: PTEFlags
    ) -> UInt64 {
        address | valid | leaf | (flags.contains(.readOnly) ? 0 : writable)
    }

    /// V, L, N, and W unless read-only.
    @inline(__always)
    public static func nullEntry(level: Int, flags: PTEFlags) -> UInt64 {
        valid | leaf | null | (flags.contains(.readOnly) ? 0 : writable)
    }

    /// The address field is in place, so the step is the span itself.
    @inline(__always)
    public static func memoryStep(_ level: Int) -> UInt64 { 1 &<< shift(level) }

    /// Decodes strictly: a bit that has no meaning at that level makes the entry malformed.
    @inline(__always)
    public static func decode(_ entry: UInt64, level: Int) -> PageTableEntry {
        if entry == 0 { return .invalid }
        guard entry & valid != 0, entry & ~known == 0 else { return .malformed }
        let address = entry & addressMask
        if entry & leaf == 0 {
            return level > 0 && entry & (writable | null | contiguous) == 0
                ? .table(address) : .malformed
        }
        let hint = entry & contiguous != 0
        guard level <= largestLeafLevel, level == 0 || !hint,
            address & (span(level) &- 1) == 0
        else { return .malformed }
        let flags: PTEFlags = entry & writable == 0 ? .readOnly : []
        if entry & null != 0 {
            return address == 0 ? .null(flags, contiguous: hint) : .malformed
        }
        return .memory(address, flags, contiguous: hint)
    }
}
