import Fencing
import Synchronization

// @unchecked: as its storage; entries are atomics.
/// A GPU VM's page table in NVIDIA's format of GP100 and later (``GP100Format``).
///
/// It has the properties of ``FormattedPageTable``: the largest leaves that alignment and contiguity
/// allow, release stores, no failure and no allocation in an operation, and an unmap of memory that
/// needs nothing. What differs is what one 2 MiB span costs, since a PDE0 has room for two tables:
///
/// | The span has | Tables | Reserve | Together |
/// |---|---|---|---|
/// | nothing, or one sparse entry | – | – | 0 |
/// | one leaf of 2 MiB | – | 2 | 2 |
/// | leaves of 64 KiB | big | 1 | 2 |
/// | leaves of 64 KiB, and of 4 KiB now or before | big, small | – | 2 |
/// | leaves of 4 KiB | small | – | 1 |
///
/// A map can thus newly cost a span two pages, and an unmap nothing. For that, a small table that has
/// become empty stays as long as there is a big one, and goes when the span is emptied or becomes one
/// leaf.
///
/// Memory that is taken away for a while (``zap(_:range:retiring:)``, ``hold(_:range:using:retiring:)``)
/// leaves held entries: they fault, and have the tables and the reserve of leaves of their size. nouveau
/// too keeps the page tables of a mapping whose buffer is evicted, until it is unmapped.
///
/// A sparse range is written at the highest level that it covers an entry of, up to PDE3's 128 TiB, and
/// such an entry holds nothing in reserve: a range of many GiB costs what its two edges do. In return
/// whoever cuts one, by a map or by an unmap, brings the tables for that
/// (``PageTableWriting/unmapTablesNeeded(address:range:)``).
/// A directory whose entries have become sparse one by one stays.
///
/// Every table is one page of the pool: PDE3 uses 32 bytes of it, a big table 256. Big tables could be
/// packed sixteen to a page, but then neither retirement nor a reserve would be a table's own.
///
/// An address is either in the big table or in the small one: under a big entry that maps something,
/// or is sparse, all small entries are invalid.
///
/// Threading: as ``FormattedPageTable``.
public final class GP100PageTable: PageTableStorage, PageTableWriting, @unchecked Sendable {
    /// How entries name memory.
    public let format: GP100Format
    /// How often small entries were cleared, or a small table unlinked, because something larger had
    /// taken their place: a walker that looked for that before and for them afterwards starts again.
    let joins = Atomic<UInt64>(0)

    /// Makes an empty table, which takes one page.
    ///
    /// - Parameters:
    ///   - pool: Pages that the format can name.
    ///   - vramBase: Where video memory begins in the device's physical address space, on a boundary of
    ///     2 MiB.
    /// - Throws: ``PageTableError/outOfTables(requested:available:)`` or
    ///   ``PageTableError/poolOutOfReach(base:pageCount:)``.
    public init(pool: TablePool, vramBase: PhysicalAddress) throws(PageTableError) {
        precondition(vramBase % GP100Format.span(1) == 0, "video memory begins on 2 MiB")
        let format = GP100Format(vramBase: vramBase)
        guard format.reaches(pool.base, bytes: UInt64(pool.capacity) * frameSize) else {
            throw .poolOutOfReach(base: pool.base, pageCount: pool.capacity)
        }
        self.format = format
        try super.init(pool: pool)
    }

    deinit { tearDown() }

    /// 49.
    public var addressBits: Int { GP100Format.addressBits }

    /// Two pages for each 2 MiB, one for each 512 MiB, 256 GiB and 128 TiB.
    public static var charges: [TableCharge] {
        [
            TableCharge(shift: 21, pages: 2, isLeaf: true, isFreeWhenNull: true),
            TableCharge(shift: 29, pages: 1, isLeaf: false, isFreeWhenNull: true),
            TableCharge(shift: 38, pages: 1, isLeaf: false, isFreeWhenNull: true),
            TableCharge(shift: 47, pages: 1, isLeaf: false, isFreeWhenNull: true),
        ]
    }

    /// True: what is held, or memory, is mapped anew, made to read zero and unmapped without a table.
    public static var keepsTables: Bool { true }

    /// Whether a range can be operated on: page-aligned, not empty, inside the address space.
    public static func isValidRange(_ address: UInt64, range: UInt64) -> Bool {
        let limit: UInt64 = 1 << UInt64(GP100Format.addressBits)
        return (address | range) % frameSize == 0 && range != 0 && address < limit
            && range <= limit - address
    }

    /// How many tables mapping a valid range (or none) may take, whatever the table looks like by
    /// then: the sum of ``charges``.
    public static func tablesNeeded(address: UInt64, range: UInt64) -> Int {
        guard range != 0 else { return 0 }
        let last = address + (range - 1)
        var count = 0
        for level in 1...GP100Format.rootLevel {
            let shift = GP100Format.shift(level)
            let spans = Int((last >> shift) - (address >> shift) + 1)
            count += level == 1 ? 2 * spans : spans
        }
        return count
    }

    override func retireAll(credits: inout Int, retiring: inout RetiredTables) {
        retireSubtree(root, level: GP100Format.rootLevel, credits: &credits, retiring: &retiring)
    }

    /// Unlinked tables keep their content for the walkers that are still in them; only the reserves
    /// of the leaves below are collected.
    func retireSubtree(
        _ table: UInt32, level: Int, credits: inout Int, retiring: inout RetiredTables
    ) {
        let entries = pool.entries(table)
        var left = Int(pool.live[Int(table)])
        var slot = 0
        while left > 0 {
            if level == 1 {
                let span = GP100Span(entries + 2 &* slot)
                if !span.isEmpty {
                    left -= 1
                    discard(span, credits: &credits, retiring: &retiring)
                }
            } else {
                let entry = entries[slot].load(ordering: .relaxed)
                if entry != 0 { left -= 1 }
                if entry & GP100Format.apertureMask != 0 {
                    retireSubtree(
                        child(entry), level: level - 1, credits: &credits, retiring: &retiring)
                }
            }
            slot += 1
        }
        retireTable(table, to: &retiring)
    }

    /// Collects what a span that is no longer reachable held.
    @inline(__always)
    func discard(_ span: GP100Span, credits: inout Int, retiring: inout RetiredTables) {
        if span.reserve != 0 {
            credits &+= span.reserve
            leafReserve &-= span.reserve
        }
        if span.hasBig { retireTable(big(span), to: &retiring) }
        if span.hasSmall { retireTable(small(span), to: &retiring) }
    }

    /// The table behind a directory entry of a level above PDE0, to change a part of it: a new one if
    /// there is none, which says what the entry said and has to be linked.
    func openChild(_ entry: UInt64, level: Int, credits: inout Int) -> UInt32 {
        if entry & GP100Format.apertureMask != 0 { return child(entry) }
        let table = takeTable(credits: &credits)
        if entry == GP100Format.sparse { fillSparse(table, level: level - 1) }
        return table
    }

    /// Makes a directory that nobody sees yet read zero throughout.
    private func fillSparse(_ table: UInt32, level: Int) {
        let entries = pool.entries(table)
        let count = GP100Format.entryCount(level)
        let stride = level == 1 ? 2 : 1
        var slot = 0
        while slot < count {
            entries[slot &* stride].store(GP100Format.sparse, ordering: .releasing)
            slot &+= 1
        }
        pool.live[Int(table)] = UInt16(count)
    }

    /// Shows a new directory to the walkers.
    @inline(__always)
    func link(_ table: UInt32, _ slot: UnsafeMutablePointer<Atomic<UInt64>>) {
        slot.pointee.store(format.tableEntry(pool.address(table)), ordering: .releasing)
    }

    /// The table that a directory entry of ours points to.
    @inline(__always)
    func child(_ entry: UInt64) -> UInt32 { child(at: format.table(entry)) }

    /// The big table of a span that has one.
    @inline(__always)
    func big(_ span: GP100Span) -> UInt32 { child(span.low) }

    /// The small table of a span that has one.
    @inline(__always)
    func small(_ span: GP100Span) -> UInt32 { child(span.high) }
}
