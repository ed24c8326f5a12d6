/// How many tables an array of operations may take, when one job carries all of it out.
///
/// Each map is charged for the spans that it touches (``PageTableWriting/tablesNeeded(address:range:)``),
/// but not for all of them again and again:
///
/// - A span whose entry only ever points to a table is charged once, however many maps share it: the
///   table that the first one brings stays as long as what that one maps. It goes when the array
///   unmaps something, or makes all of the span read zero; from there on the span is charged anew.
/// - As long as the array has only maps into unmapped ranges, its maps are disjoint, and a span that
///   may be a leaf is charged twice at most: once for the tables that they bring, once for the reserve of
///   the large leaf that the last one may complete. A map that replaces something, and all later ones,
///   are charged in full.
///
/// - Maps that are written as one (``addMap(address:range:isContinued:)``) are charged as one.
///
/// Nobody else can change what an array relies on in between, since jobs on overlapping ranges are
/// ordered. Only a map's first and last span of a level can be shared at all.
///
/// Threading: one thread at a time.
public struct PageTableDemand {
    /// One of the charges, and what was charged of it.
    fileprivate struct Level {
        let charge: TableCharge
        /// How often a span at the edge of a map was charged, by its index.
        var charged: [UInt64: UInt8] = [:]
        /// The edge asked for last, which most often is the next one too: the maps of an array go on
        /// where the one before ended. No span has this number in the beginning.
        private var recentSpan = UInt64.max
        private var recentCount: UInt8 = 0
        /// The last span of the map before, and whether that was charged in full there.
        var lastSpan = UInt64.max
        var isLastFull = false

        init(_ charge: TableCharge) { self.charge = charge }

        mutating func forget() {
            charged.removeAll(keepingCapacity: true)
            recentSpan = .max
            lastSpan = .max
        }

        /// Charges a span at an edge, if it was charged fewer times than `limit`.
        @inline(__always)
        mutating func take(_ span: UInt64, limit: UInt8) -> Bool {
            if span != recentSpan {
                recentSpan = span
                recentCount = charged[span, default: 0]
            }
            if recentCount == limit { return false }
            recentCount += 1
            charged[span] = recentCount
            return true
        }
    }

    private var levels: [Level]
    private var hasOnlyInsertions = true

    /// Demands nothing of a page table of class `table`.
    public init(_ table: any PageTableWriting.Type) { levels = table.charges.map(Level.init) }

    /// Takes note of an operation that unmaps: it may take any table away.
    public mutating func addRemoval() {
        hasOnlyInsertions = false
        for index in levels.indices { levels[index].forget() }
    }

    /// Takes note that the next map may replace mappings: leaves are charged in full from here on.
    public mutating func addReplacement() { hasOnlyInsertions = false }

    /// How many tables more a map needs.
    ///
    /// - Parameters:
    ///   - address: As of ``PageTableWriting/tablesNeeded(address:range:)``.
    ///   - range: As there; not 0.
    ///   - isContinued: Whether it begins where the operation before it, a map of the same kind, ends,
    ///     and both are written to the page table as one.
    public mutating func addMap(
        address: UInt64, range: UInt64, isContinued: Bool = false
    ) -> Int {
        let last = address + (range - 1)
        var count = 0
        for index in levels.indices {
            count += levels[index].add(
                address, last, isContinued: isContinued, leaves: hasOnlyInsertions)
        }
        return count
    }

    /// Takes note of a range of memory, or held, that reads zero from now on: that needs no table, where
    /// ``PageTableWriting/keepsTables`` says so, but may take some away.
    public mutating func addZeros(address: UInt64, range: UInt64) {
        addReplacement()
        let last = address + (range - 1)
        if levels.contains(where: { $0.charge.losesTable(from: address, to: last) }) {
            addRemoval()
        }
    }

    /// How many tables more a map needs that makes its range read zero.
    ///
    /// - Parameters: As of ``PageTableWriting/nullTablesNeeded(address:range:)``; the range is not empty.
    public mutating func addNullMap(address: UInt64, range: UInt64) -> Int {
        let last = address + (range - 1)
        // Tables of wholly covered spans go.
        if levels.contains(where: { $0.charge.losesTable(from: address, to: last) }) {
            addRemoval()
        }
        var count = 0
        for index in levels.indices {
            count += levels[index].addNull(address, last, leaves: hasOnlyInsertions)
        }
        return count
    }
}

extension PageTableDemand.Level {
    /// What a map costs here.
    ///
    /// - Parameter leaves: Whether spans that may be leaves are shared, too.
    @inline(__always)
    fileprivate mutating func add(
        _ address: UInt64, _ last: UInt64, isContinued: Bool, leaves: Bool
    ) -> Int {
        let (start, end) = (address &>> charge.shift, last &>> charge.shift)
        let isFull = charge.isLeaf && !leaves
        // Paid for by the map that this one goes on with.
        let isPaid = isContinued && start == lastSpan && (isLastFull || !isFull)
        (lastSpan, isLastFull) = (end, isFull)
        if isPaid && start == end { return 0 }
        var count = Int(end &- start &+ 1)
        if isPaid { count &-= 1 }
        if isFull { return charge.pages &* count }
        let limit: UInt8 = charge.isLeaf ? 2 : 1
        if !isPaid, !take(start, limit: limit) { count &-= 1 }
        if end != start, !take(end, limit: limit) { count &-= 1 }
        return charge.pages &* count
    }

    /// What a map costs here that makes its range read zero.
    fileprivate mutating func addNull(_ address: UInt64, _ last: UInt64, leaves: Bool) -> Int {
        let isFreeWhenWhole = charge.isFreeWhenNull
        var count =
            isFreeWhenWhole
            ? charge.partialSpans(from: address, to: last)
            : charge.spans(from: address, to: last)
        let (start, end) = (address &>> charge.shift, last &>> charge.shift)
        guard leaves || !charge.isLeaf else { return charge.pages &* count }
        let limit: UInt8 = charge.isLeaf ? 2 : 1
        if !(isFreeWhenWhole && charge.isWhole(start, from: address, to: last)) {
            if !take(start, limit: limit) { count &-= 1 }
        }
        if end != start, !(isFreeWhenWhole && charge.isWhole(end, from: address, to: last)) {
            if !take(end, limit: limit) { count &-= 1 }
        }
        return charge.pages &* count
    }
}
