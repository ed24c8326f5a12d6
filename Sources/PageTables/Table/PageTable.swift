import Fencing
import Synchronization

/// The page table of the generic format.
public typealias PageTable = FormattedPageTable<Generic48Format>

// @unchecked: as its storage; entries are atomics.
/// A GPU VM's page table: the *executed* state of its address space, as bytes in device memory.
///
/// Leaves are as large as alignment and contiguity allow. A large leaf is split when a later
/// operation needs it, make before break: the new table is filled, then one store links it. Aligned
/// contiguous entries with the same flags are merged back. An operation never fails and never
/// allocates: a map spends a ``TableReservation`` made at submission, and an unmap spends what the
/// leaves that it splits hold in reserve.
///
/// A walker sees, for each frame, the old translation or the new one. Before a frame or a table is
/// used again, its translation must have been invalidated in every MMU (``InvalidationDomain``).
///
/// Threading: ``map(_:extents:flags:using:retiring:)``, ``mapNull(_:range:flags:using:retiring:)``,
/// ``unmap(_:range:retiring:)`` and introspection take the table's own lock, from any thread;
/// ``lookUp(_:)`` takes none and runs concurrently with them.
public final class FormattedPageTable<Format: PageTableFormat>: PageTableStorage, PageWalker,
    @unchecked Sendable
{
    /// Makes an empty table, which takes one page.
    ///
    /// - Throws: ``PageTableError/outOfTables(requested:available:)``.
    public override init(pool: TablePool) throws(PageTableError) { try super.init(pool: pool) }

    deinit { tearDown() }

    /// The number of bits of a virtual address.
    public var addressBits: Int { Format.addressBits }

    /// Whether a range can be operated on: page-aligned, not empty, inside the address space.
    public static func isValidRange(_ address: UInt64, range: UInt64) -> Bool {
        let limit: UInt64 = 1 << UInt64(Format.addressBits)
        return (address | range) % frameSize == 0 && range != 0 && address < limit
            && range <= limit - address
    }

    /// How many tables mapping a valid range (or none) may take, whatever the table looks like by
    /// then.
    ///
    /// For each level above the frames: the number of the level's spans that the range touches. One
    /// table or one large leaf's reserve is what each can newly cost.
    public static func tablesNeeded(address: UInt64, range: UInt64) -> Int {
        guard range != 0 else { return 0 }
        let last = address + (range - 1)
        var count: UInt64 = 0
        for level in 1...Format.rootLevel {
            let shift = Format.shift(level)
            count += (last >> shift) - (address >> shift) + 1
        }
        return Int(count)
    }

    override func retireAll(credits: inout Int, retiring: inout RetiredTables) {
        retireSubtree(root, level: Format.rootLevel, credits: &credits, retiring: &retiring)
    }

    /// Walks the tables for one address; see ``PageWalker``.
    @specialized(where Format == Generic48Format)
    public func lookUp(_ address: UInt64) -> PageLookup {
        guard address >> UInt64(Format.addressBits) == 0 else { return .fault(.outOfRange) }
        var table = root
        var level = Format.rootLevel
        while true {
            let slot = pool.entries(table) + Format.index(address, level)
            let entry = slot.pointee.load(ordering: .acquiring)
            switch Format.decode(entry, level: level) {
            case .invalid:
                return .fault(.notMapped(level: level))
            case .malformed:
                return .fault(.malformedEntry(level: level, entry: entry))
            case .table(let physical):
                guard let child = pool.table(at: physical) else {
                    return .fault(.machineCheck(physical))
                }
                table = child
                level -= 1
                #if MUTANTS
                    if Mutant.isPlanted("tableLevelSkipped"), level == 1,
                        Format.index(address, 1) == 0
                    {
                        level = 0
                    }
                #endif
            case .memory(let physical, let flags, let contiguous):
                let shift = Self.leafShift(level, contiguous)
                return .leaf(
                    PageTableLeaf(
                        address: Self.alignDown(address, shift),
                        physical: Self.alignDown(physical, shift), sizeShift: UInt8(shift),
                        isNull: false, flags: flags))
            case .null(let flags, let contiguous):
                let shift = Self.leafShift(level, contiguous)
                return .leaf(
                    PageTableLeaf(
                        address: Self.alignDown(address, shift), physical: 0,
                        sizeShift: UInt8(shift), isNull: true, flags: flags))
            }
        }
    }

    /// The shift of a leaf's size. Rounding its physical address down by it is right because a
    /// contiguous group is aligned on both sides.
    @inline(__always)
    static func leafShift(_ level: Int, _ contiguous: Bool) -> UInt64 {
        contiguous
            ? Format.shift(0) &+ UInt64(Format.contiguousEntries.trailingZeroBitCount)
            : Format.shift(level)
    }

    @inline(__always)
    static func alignDown(_ address: UInt64, _ shift: UInt64) -> UInt64 {
        (address &>> shift) &<< shift
    }

    /// Unlinked tables keep their content for the walkers that are still in them; only the reserves
    /// of the large leaves below are collected.
    func retireSubtree(
        _ table: UInt32, level: Int, credits: inout Int, retiring: inout RetiredTables
    ) {
        if level > 0 {
            let entries = pool.entries(table)
            var left = Int(pool.live[Int(table)])
            var slot = 0
            while left > 0 && slot < Format.entriesPerTable {
                let entry = entries[slot].load(ordering: .relaxed)
                if entry != 0 {
                    left -= 1
                    discard(entry, level: level, credits: &credits, retiring: &retiring)
                }
                slot += 1
            }
        }
        retireTable(table, to: &retiring)
    }

    /// Collects what an entry that is no longer reachable held: a leaf's reserve, or a subtree.
    @inline(__always)
    func discard(
        _ entry: UInt64, level: Int, credits: inout Int, retiring: inout RetiredTables
    ) {
        switch Format.decode(entry, level: level) {
        case .invalid, .malformed:
            return
        case .table(let physical):
            retireSubtree(
                child(at: physical), level: level - 1, credits: &credits, retiring: &retiring)
        case .memory, .null:
            dropLeafReserve(level, credits: &credits)
        }
    }

    /// A leaf of `level` goes away: what it held in reserve is the operation's to spend.
    @inline(__always)
    func dropLeafReserve(_ level: Int, count: Int = 1, credits: inout Int) {
        let cost = count &* Format.splitCost(level)
        credits &+= cost
        leafReserve &-= cost
    }

    /// A leaf of `level` comes into being and holds the tables that splitting it takes.
    @inline(__always)
    func takeLeafReserve(_ level: Int, count: Int = 1, credits: inout Int) {
        let cost = count &* Format.splitCost(level)
        credits &-= cost
        leafReserve &+= cost
        precondition(credits >= 0, "a page-table operation outspent its reservation")
    }
}
