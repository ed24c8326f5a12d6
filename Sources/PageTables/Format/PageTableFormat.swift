/// The geometry and the bits of one kind of page table.
///
/// Levels count from 0, whose entries map single frames, up to ``rootLevel``. Every table is one
/// frame of 512 little-endian entries of 8 bytes; an all-zero entry is invalid. A format with other
/// tables than these (NVIDIA's dual page directory entries: ``GP100PageTable``) brings a writer of its
/// own and shares ``PageTableWriting``, the pool, the TLB and everything behind them.
///
/// Threading: stateless.
public protocol PageTableFormat: Sendable {
    /// Shown in reports.
    static var name: StaticString { get }
    /// The number of bits of a virtual address; higher bits must be zero.
    static var addressBits: Int { get }
    /// The level of the root table.
    static var rootLevel: Int { get }
    /// The highest level whose entries may map memory.
    static var largestLeafLevel: Int { get }
    /// How many consecutive entries of level 0 the contiguous hint joins to a larger leaf.
    static var contiguousEntries: Int { get }
    /// The bit of a level-0 entry that marks a member of such a group.
    static var contiguousHint: UInt64 { get }

    /// The number of address bits below a level's index: an entry spans `1 << shift` bytes.
    static func shift(_ level: Int) -> UInt64
    /// The entry that points to a table.
    static func tableEntry(_ table: PhysicalAddress) -> UInt64
    /// The leaf that maps memory at `address`, which is aligned to the level's span.
    static func memoryEntry(_ address: PhysicalAddress, level: Int, flags: PTEFlags) -> UInt64
    /// The leaf that reads zero and drops writes.
    static func nullEntry(level: Int, flags: PTEFlags) -> UInt64
    /// The difference between the memory entries of neighbouring leaves of one contiguous run.
    static func memoryStep(_ level: Int) -> UInt64
    /// What an entry of a level means.
    static func decode(_ entry: UInt64, level: Int) -> PageTableEntry
}

extension PageTableFormat {
    /// The number of entries of a table.
    @inline(__always)
    static var entriesPerTable: Int { 512 }

    /// The number of bytes that an entry of a level spans.
    @inline(__always)
    static func span(_ level: Int) -> UInt64 { 1 &<< shift(level) }

    /// An address's index into the table of a level.
    @inline(__always)
    static func index(_ address: UInt64, _ level: Int) -> Int {
        Int(truncatingIfNeeded: (address &>> shift(level)) & 511)
    }

    /// How many tables it takes to split a leaf of a level down to single frames.
    @inline(__always)
    static func splitCost(_ level: Int) -> Int {
        var cost = 0
        for _ in 0..<level { cost = 1 &+ entriesPerTable &* cost }
        return cost
    }
}
