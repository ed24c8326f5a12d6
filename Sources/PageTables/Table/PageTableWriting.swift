/// A page table that bind jobs can write, of whatever format.
///
/// A device chooses the class by its personality when it makes a VM, and knows the table as
/// `any PageTableWriting` from there on: one dynamic call for each operation, none for each entry.
/// What its operations may cost is asked of the class (`type(of: table)`), before there is a job.
///
/// The rules are those of ``FormattedPageTable``: operations run on the fence-signalling path and
/// neither fail nor allocate; a map spends a reservation made at submission, and an unmap needs one only
/// where a format says so (``unmapTablesNeeded(address:range:)``); a walker sees, for each address, the
/// old translation or the new one.
///
/// Threading: as ``FormattedPageTable``.
public protocol PageTableWriting: PageWalker {
    /// What an operation costs, for each span that it touches.
    static var charges: [TableCharge] { get }
    /// Whether a range that memory was taken away from (``zap(_:range:retiring:)``) or kept from
    /// (``hold(_:range:using:retiring:)``) keeps what memory there would have, until it is unmapped.
    ///
    /// Mapping such a range or memory anew needs no reservation then, and neither does making it read
    /// zero (with an empty one, larger leaves may not come about), or unmapping it.
    static var keepsTables: Bool { get }
    /// Whether a range can be operated on: page-aligned, not empty, inside the address space.
    static func isValidRange(_ address: UInt64, range: UInt64) -> Bool
    /// How many tables mapping a valid range (or none) may take, whatever the table looks like by
    /// then.
    static func tablesNeeded(address: UInt64, range: UInt64) -> Int
    /// As ``tablesNeeded(address:range:)``, of a map that makes the range read zero.
    static func nullTablesNeeded(address: UInt64, range: UInt64) -> Int
    /// How many tables unmapping a valid range may take, whatever the table looks like by then, if some
    /// of it reads zero. Unmapping memory takes none.
    static func unmapTablesNeeded(address: UInt64, range: UInt64) -> Int

    /// Where the tables come from.
    var pool: TablePool { get }
    /// How many pages of the pool are its tables or its leaves' reserves; takes no lock.
    var heldPages: Int { get }

    /// Maps a range to memory, replacing what was there; see
    /// ``FormattedPageTable/map(_:extents:flags:using:retiring:)``.
    ///
    /// - Parameter kind: How the content is laid out; a format without kinds ignores it.
    func map(
        _ address: UInt64, extents: UnsafeBufferPointer<PhysicalExtent>, flags: PTEFlags,
        kind: UInt8, using reservation: inout TableReservation,
        retiring retired: inout RetiredTables)
    /// Makes a range read zero and drop writes; see
    /// ``FormattedPageTable/mapNull(_:range:flags:using:retiring:)``.
    ///
    /// - Parameter joined: Where a leaf that holds nothing in reserve may come to span more than the
    ///   range. A part of such a leaf takes tables to be unmapped.
    func mapNull(
        _ address: UInt64, range: UInt64, flags: PTEFlags, joining joined: Range<UInt64>,
        using reservation: inout TableReservation, retiring retired: inout RetiredTables)
    /// Unmaps a range; see ``FormattedPageTable/unmap(_:range:retiring:)``.
    ///
    /// - Parameter reservation: Spent where an entry that reads zero is cut; gains what replaced leaves
    ///   held.
    func unmap(
        _ address: UInt64, range: UInt64, using reservation: inout TableReservation,
        retiring retired: inout RetiredTables)
    /// Unmaps a range where memory shall be, and takes the tables for it if ``keepsTables`` says so.
    ///
    /// - Parameter reservation: As for a map.
    func hold(
        _ address: UInt64, range: UInt64, using reservation: inout TableReservation,
        retiring retired: inout RetiredTables)
    /// Takes memory away: the range faults, as after an unmap, but nothing is done if the table has been
    /// destroyed, and it may leave what reads zero. It needs no reservation.
    func zap(_ address: UInt64, range: UInt64, retiring retired: inout RetiredTables)
    /// Returns every table and every reserve to the pool; see ``FormattedPageTable/destroy()``.
    func destroy()

    /// Walks the tables for one address and keeps what it read.
    func walk(_ address: UInt64) -> PageTableWalk
    /// Calls `body` for each leaf that overlaps a range, in the order of addresses.
    func forEachLeaf(from address: UInt64, range: UInt64, _ body: (PageTableLeaf) -> Void)
    /// Calls `body` for each linked table: its physical address, its level, its first virtual address.
    func forEachTable(_ body: (PhysicalAddress, Int, UInt64) -> Void)
    /// Calls `body` for each entry that is not all zero, from a place in the dump on
    /// (``TableEntry/position``), until it returns false.
    func forEachEntry(from position: UInt64, _ body: (TableEntry) -> Bool)
    /// Every entry that a walk for one address may read, root first; nothing beyond the address space.
    func entries(onWayTo address: UInt64) -> [TableEntry]
    /// Counts afresh what the table holds of its pool.
    func audit() -> PageTableAudit
}

extension PageTableWriting {
    /// The sum of ``charges``, but for the spans that are free.
    public static func nullTablesNeeded(address: UInt64, range: UInt64) -> Int {
        guard range != 0 else { return 0 }
        let last = address + (range - 1)
        return charges.reduce(0) { count, charge in
            let spans =
                charge.isFreeWhenNull
                ? charge.partialSpans(from: address, to: last)
                : charge.spans(from: address, to: last)
            return count + charge.pages * spans
        }
    }

    /// What the spans cost that the range covers in part, where a leaf holds nothing in reserve.
    public static func unmapTablesNeeded(address: UInt64, range: UInt64) -> Int {
        guard range != 0 else { return 0 }
        let last = address + (range - 1)
        return charges.reduce(0) { count, charge in
            guard charge.isFreeWhenNull else { return count }
            return count + charge.pages * charge.partialSpans(from: address, to: last)
        }
    }

    /// Makes a range read zero and drop writes, joined with whatever reads zero beside it.
    public func mapNull(
        _ address: UInt64, range: UInt64, flags: PTEFlags = [],
        using reservation: inout TableReservation, retiring retired: inout RetiredTables
    ) {
        mapNull(
            address, range: range, flags: flags, joining: 0..<(.max), using: &reservation,
            retiring: &retired)
    }

    /// Unmaps memory, which needs no reservation: no entry that reads zero is cut.
    public func unmap(_ address: UInt64, range: UInt64, retiring retired: inout RetiredTables) {
        var none = pool.emptyReservation()
        unmap(address, range: range, using: &none, retiring: &retired)
    }

    /// Calls `body` for each leaf, in the order of addresses.
    public func forEachLeaf(_ body: (PageTableLeaf) -> Void) {
        forEachLeaf(from: 0, range: .max, body)
    }

    /// Counts the leaves by size, and the bytes that they map.
    public func countLeaves() -> LeafCounts {
        var counts = LeafCounts()
        forEachLeaf { counts.count($0) }
        return counts
    }
}

extension FormattedPageTable: PageTableWriting {
    /// One table or one large leaf's reserve for each span above the frames.
    public static var charges: [TableCharge] {
        (1...Format.rootLevel).map {
            // A span at the root's level is a table and never a leaf.
            TableCharge(shift: Format.shift($0), pages: 1, isLeaf: $0 <= Format.largestLeafLevel)
        }
    }

    /// False: tables go with what they map.
    public static var keepsTables: Bool { false }

    /// Maps a range to memory; the format has no kinds.
    public func map(
        _ address: UInt64, extents: UnsafeBufferPointer<PhysicalExtent>, flags: PTEFlags,
        kind: UInt8, using reservation: inout TableReservation,
        retiring retired: inout RetiredTables
    ) {
        map(address, extents: extents, flags: flags, using: &reservation, retiring: &retired)
    }

    /// Makes a range read zero; each large leaf holds what splitting it takes, whatever it spans.
    public func mapNull(
        _ address: UInt64, range: UInt64, flags: PTEFlags, joining joined: Range<UInt64>,
        using reservation: inout TableReservation, retiring retired: inout RetiredTables
    ) {
        mapNull(address, range: range, flags: flags, using: &reservation, retiring: &retired)
    }

    /// Unmaps a range.
    public func hold(
        _ address: UInt64, range: UInt64, using reservation: inout TableReservation,
        retiring retired: inout RetiredTables
    ) {
        unmap(address, range: range, retiring: &retired)
    }

    /// Unmaps a range; each large leaf, null or not, holds what splitting it takes.
    public func unmap(
        _ address: UInt64, range: UInt64, using reservation: inout TableReservation,
        retiring retired: inout RetiredTables
    ) {
        unmap(address, range: range, retiring: &retired)
    }
}
