import Fencing
import Synchronization

extension GP100PageTable {
    /// Maps a range of addresses to memory, replacing what was there.
    ///
    /// The rules of ``FormattedPageTable/map(_:extents:flags:using:retiring:)`` apply, with this class's
    /// ``tablesNeeded(address:range:)``.
    ///
    /// Complexity: O(extents + leaves written or replaced).
    /// - Parameters:
    ///   - address: The first virtual address, page-aligned.
    ///   - extents: The memory, in order, which the format can name; neighbours that continue each
    ///     other are joined.
    ///   - flags: What the mapping allows.
    ///   - kind: `KIND` of the entries, not 0xff.
    ///   - reservation: Spent as needed; gains what replaced leaves held.
    ///   - retired: Gains the tables that became unreachable.
    public func map(
        _ address: UInt64, extents: UnsafeBufferPointer<PhysicalExtent>, flags: PTEFlags,
        kind: UInt8, using reservation: inout TableReservation,
        retiring retired: inout RetiredTables
    ) {
        precondition(kind != UInt8(GP100Format.invalidKind), "the kind of no mapping")
        var range: UInt64 = 0
        for extent in extents {
            precondition(
                (extent.address | extent.bytes) % frameSize == 0 && extent.bytes != 0,
                "an extent is whole frames")
            precondition(
                format.reaches(extent.address, bytes: extent.bytes),
                "memory that the format cannot name")
            range += extent.bytes
        }
        guard range != 0 else { return }
        let source = LeafSource(
            extents: extents, flags: flags, border: format.vramBase)
        execute(address, range: range, source, kind, using: &reservation, retiring: &retired)
    }

    /// Maps a range of addresses to memory; see the variant with an unsafe buffer.
    public func map(
        _ address: UInt64, extents: [PhysicalExtent], flags: PTEFlags = [], kind: UInt8 = 0,
        using reservation: inout TableReservation, retiring retired: inout RetiredTables
    ) {
        extents.withUnsafeBufferPointer {
            map(
                address, extents: $0, flags: flags, kind: kind, using: &reservation,
                retiring: &retired)
        }
    }

    /// Makes a range of addresses read zero and drop writes (sparse), replacing what was there.
    ///
    /// Every span of a directory entry that the range covers becomes one sparse entry, of whatever
    /// level. The rules of ``map(_:extents:flags:kind:using:retiring:)`` apply, with
    /// ``PageTableWriting/nullTablesNeeded(address:range:)`` for the reservation, or none where all of the
    /// range is memory or held: then the entries are as large as the tables that are there allow.
    /// Complexity: O(leaves written or replaced).
    /// - Parameters:
    ///   - flags: Have no effect: a sparse entry has none, and drops all writes.
    ///   - joined: Where the range may become one leaf of 2 MiB with what reads zero beside it. Who
    ///     unmaps the range again, but not that, needs no tables.
    public func mapNull(
        _ address: UInt64, range: UInt64, flags: PTEFlags, joining joined: Range<UInt64>,
        using reservation: inout TableReservation, retiring retired: inout RetiredTables
    ) {
        let source = LeafSource(nullBytes: range, flags: [], joining: joined)
        execute(address, range: range, source, 0, using: &reservation, retiring: &retired)
    }

    /// Makes a range of addresses fault, replacing what was there, and holds what memory would take.
    ///
    /// The rules of ``map(_:extents:flags:kind:using:retiring:)`` apply.
    public func hold(
        _ address: UInt64, range: UInt64, using reservation: inout TableReservation,
        retiring retired: inout RetiredTables
    ) {
        let source = LeafSource(nullBytes: range, flags: [], isHeld: true)
        execute(address, range: range, source, 0, using: &reservation, retiring: &retired)
    }

    private func execute(
        _ address: UInt64, range: UInt64, _ source: LeafSource, _ kind: UInt8,
        using reservation: inout TableReservation, retiring retired: inout RetiredTables
    ) {
        precondition(Self.isValidRange(address, range: range), "a range outside of the space")
        precondition(reservation.pool === pool, "a reservation of another pool")
        var source = source
        lock.withLock {
            assertUsable()
            write(
                root, level: GP100Format.rootLevel, from: address, to: address &+ range,
                source: &source, kind, credits: &reservation.count, retiring: &retired)
        }
    }

    /// Writes the part `start..<end` of the operation that lies in one directory.
    private func write(
        _ table: UInt32, level: Int, from start: UInt64, to end: UInt64,
        source: inout LeafSource, _ kind: UInt8, credits: inout Int,
        retiring: inout RetiredTables
    ) {
        let span = GP100Format.span(level)
        var address = start
        while address < end {
            let next = min(end, (address | (span &- 1)) &+ 1)
            if level == 1 {
                writeSpan(
                    table, from: address, to: next, source: &source, kind, credits: &credits,
                    retiring: &retiring)
            } else {
                let index = GP100Format.index(address, level)
                let slot = pool.entries(table) + index
                let old = slot.pointee.load(ordering: .relaxed)
                if source.isSparse && (old == GP100Format.sparse || next &- address == span) {
                    source.advance(next &- address)
                    makeSparse(
                        table, level: level, index, old, credits: &credits, retiring: &retiring)
                    address = next
                    continue
                }
                let child = openChild(old, level: level, credits: &credits)
                write(
                    child, level: level - 1, from: address, to: next, source: &source, kind,
                    credits: &credits, retiring: &retiring)
                if old == 0 { pool.live[Int(table)] &+= 1 }
                if old == 0 || old == GP100Format.sparse { link(child, slot) }
            }
            address = next
        }
    }

    /// Makes all that an entry above PDE0 spans sparse.
    private func makeSparse(
        _ table: UInt32, level: Int, _ index: Int, _ old: UInt64, credits: inout Int,
        retiring: inout RetiredTables
    ) {
        if old == GP100Format.sparse { return }
        pool.entries(table)[index].store(GP100Format.sparse, ordering: .releasing)
        if old == 0 {
            pool.live[Int(table)] &+= 1
        } else {
            retireSubtree(child(old), level: level - 1, credits: &credits, retiring: &retiring)
        }
    }

    /// Writes the part of the operation that lies in one span of 2 MiB.
    func writeSpan(
        _ directory: UInt32, from start: UInt64, to end: UInt64, source: inout LeafSource,
        _ kind: UInt8, credits: inout Int, retiring: inout RetiredTables
    ) {
        let words = pool.entries(directory) + 2 &* GP100Format.index(start, 1)
        let old = GP100Span(words)
        let first = Int(truncatingIfNeeded: (start &>> frameShift) & 511)
        let last = first &+ Int(truncatingIfNeeded: (end &- start) &>> frameShift)
        if let leaf = wholeLeaf(old, first, last, source, kind, start, credits) {
            source.advance(end &- start)
            replace(directory, words, old, with: leaf, credits: &credits, retiring: &retiring)
            return
        }
        var editor = GP100SpanEditor(self, directory, words, old, first, last, credits: &credits)
        editor.write(&source, kind, credits: &credits)
        editor.finish(credits: &credits, retiring: &retiring)
    }

    /// The leaf of 2 MiB that the span is from now on, if the operation's part and what it leaves of
    /// the span are one run, and the leaf's reserve is there.
    @inline(__always)
    private func wholeLeaf(
        _ old: GP100Span, _ first: Int, _ last: Int, _ source: LeafSource, _ kind: UInt8,
        _ start: UInt64, _ credits: Int
    ) -> UInt64? {
        guard source.runBytes >= UInt64(last &- first) &<< frameShift else { return nil }
        let leaf: UInt64
        if source.isNull {
            leaf = source.blank
        } else {
            let base = source.physical &- UInt64(first) &<< frameShift
            guard base & (GP100Format.span(1) &- 1) == 0 else { return nil }
            leaf = format.memoryEntry(base, flags: source.flags, kind: kind)
        }
        guard GP100Span.leafReserve(leaf) &- old.reserve <= credits else { return nil }
        if last &- first == 512 || old.low == leaf { return leaf }
        guard !old.isLeaf else { return nil }
        if source.isNull {
            let span = start & ~(GP100Format.span(1) &- 1)
            guard span >= source.joined.lowerBound,
                span &+ (GP100Format.span(1) &- 1) < source.joined.upperBound
            else { return nil }
        }
        let tables = GP100SpanTables(self, old)
        // The rear first: it differs at once in a span that is filled page by page.
        return tables.says(leaf, from: last, to: 512) && tables.says(leaf, from: 0, to: first)
            ? leaf : nil
    }

    /// Makes a span one leaf.
    private func replace(
        _ directory: UInt32, _ words: UnsafeMutablePointer<Atomic<UInt64>>, _ old: GP100Span,
        with leaf: UInt64, credits: inout Int, retiring: inout RetiredTables
    ) {
        if old.low == leaf { return }
        words[0].store(leaf, ordering: .releasing)
        if old.hasSmall {
            joins.add(1, ordering: .releasing)
            words[1].store(0, ordering: .releasing)
        }
        if old.isEmpty { pool.live[Int(directory)] &+= 1 }
        if old.hasBig { retireTable(big(old), to: &retiring) }
        if old.hasSmall { retireTable(small(old), to: &retiring) }
        settle(old.reserve, GP100Span.leafReserve(leaf), credits: &credits)
    }

    /// Moves the difference of a span's reserve between the operation and the leaves.
    @inline(__always)
    func settle(_ old: Int, _ new: Int, credits: inout Int) {
        guard old != new else { return }
        credits &-= new &- old
        leafReserve &+= new &- old
        precondition(credits >= 0, "a page-table operation outspent its reservation")
    }
}

extension LeafSource {
    /// Whether it reads zero.
    @inline(__always)
    fileprivate var isSparse: Bool { isNull && !isHeld }

    /// The entry of any size, and of any span that it covers, of what has no memory.
    @inline(__always)
    var blank: UInt64 { isHeld ? GP100Format.held : GP100Format.sparse }
}
