import Fencing
import Synchronization

extension FormattedPageTable {
    /// Maps a range of addresses to memory, replacing what was there.
    ///
    /// Runs on the fence-signalling path: it neither fails nor allocates. The caller has checked the
    /// range (``isValidRange(_:range:)``, the range being the sum of the extents), has reserved
    /// ``tablesNeeded(address:range:)`` tables, and invalidates the range in every MMU before it
    /// releases `retired` or reuses a frame that was mapped there.
    ///
    /// Complexity: O(extents + leaves written or replaced).
    /// - Parameters:
    ///   - address: The first virtual address, page-aligned.
    ///   - extents: The memory, in order; neighbours that continue each other are joined.
    ///   - flags: What the mapping allows.
    ///   - reservation: Spent as needed; gains what replaced large leaves held.
    ///   - retired: Gains the tables that became unreachable.
    @specialized(where Format == Generic48Format)
    public func map(
        _ address: UInt64, extents: UnsafeBufferPointer<PhysicalExtent>, flags: PTEFlags = [],
        using reservation: inout TableReservation, retiring retired: inout RetiredTables
    ) {
        var range: UInt64 = 0
        for extent in extents {
            precondition(
                (extent.address | extent.bytes) % frameSize == 0 && extent.bytes != 0,
                "an extent is whole frames")
            range += extent.bytes
        }
        guard range != 0 else { return }
        let source = LeafSource(extents: extents, flags: flags)
        execute(address, range: range, source, using: &reservation, retiring: &retired)
    }

    /// Maps a range of addresses to memory; see the variant with an unsafe buffer.
    public func map(
        _ address: UInt64, extents: [PhysicalExtent], flags: PTEFlags = [],
        using reservation: inout TableReservation, retiring retired: inout RetiredTables
    ) {
        extents.withUnsafeBufferPointer {
            map(address, extents: $0, flags: flags, using: &reservation, retiring: &retired)
        }
    }

    /// Makes a range of addresses read zero and drop writes (sparse), replacing what was there.
    ///
    /// The rules of ``map(_:extents:flags:using:retiring:)`` apply, the reservation's included.
    /// Complexity: O(leaves written or replaced).
    @specialized(where Format == Generic48Format)
    public func mapNull(
        _ address: UInt64, range: UInt64, flags: PTEFlags = [],
        using reservation: inout TableReservation, retiring retired: inout RetiredTables
    ) {
        let source = LeafSource(nullBytes: range, flags: flags)
        execute(address, range: range, source, using: &reservation, retiring: &retired)
    }

    @inline(__always)
    private func execute(
        _ address: UInt64, range: UInt64, _ source: LeafSource,
        using reservation: inout TableReservation, retiring retired: inout RetiredTables
    ) {
        precondition(Self.isValidRange(address, range: range), "a range outside of the space")
        precondition(reservation.pool === pool, "a reservation of another pool")
        var source = source
        lock.withLock {
            assertUsable()
            write(
                root, level: Format.rootLevel, from: address, to: address &+ range,
                source: &source, credits: &reservation.count, retiring: &retired)
        }
    }

    /// Writes the part `start..<end` of the operation that lies in one table.
    private func write(
        _ table: UInt32, level: Int, from start: UInt64, to end: UInt64,
        source: inout LeafSource, credits: inout Int, retiring: inout RetiredTables
    ) {
        if level == 0 {
            writeFrames(table, from: start, to: end, source: &source)
            return
        }
        let entries = pool.entries(table)
        let span = Format.span(level)
        var address = start
        while address < end {
            let slot = Format.index(address, level)
            let next = min(end, (address | (span &- 1)) &+ 1)
            let isWhole = next &- address == span
            if isWhole && level <= Format.largestLeafLevel && source.fits(span) {
                let leaf = leafEntry(source, level: level)
                replace(
                    table, slot, withLeaf: leaf, level: level, credits: &credits,
                    retiring: &retiring)
                source.advance(span)
            } else {
                let old = entries[slot].load(ordering: .relaxed)
                let (child, isLinked) = openChild(
                    old, level: level, keepsOld: !isWhole, credits: &credits)
                write(
                    child, level: level - 1, from: address, to: next, source: &source,
                    credits: &credits, retiring: &retiring)
                if let leaf = mergedLeaf(child, level: level - 1) {
                    dropLeafReserve(level - 1, count: Format.entriesPerTable, credits: &credits)
                    takeLeafReserve(level, credits: &credits)
                    link(table, slot, old: old, leaf)
                    retireTable(child, to: &retiring)
                } else if !isLinked {
                    link(table, slot, old: old, Format.tableEntry(pool.address(child)))
                }
            }
            address = next
        }
    }

    /// Stores an entry and counts it.
    @inline(__always)
    func link(_ table: UInt32, _ slot: Int, old: UInt64, _ entry: UInt64) {
        if old == 0 { pool.live[Int(table)] &+= 1 }
        pool.entries(table)[slot].store(entry, ordering: .releasing)
    }

    @inline(__always)
    private func leafEntry(_ source: LeafSource, level: Int) -> UInt64 {
        source.isNull
            ? Format.nullEntry(level: level, flags: source.flags)
            : Format.memoryEntry(source.physical, level: level, flags: source.flags)
    }

    @inline(__always)
    private func replace(
        _ table: UInt32, _ slot: Int, withLeaf leaf: UInt64, level: Int, credits: inout Int,
        retiring: inout RetiredTables
    ) {
        let old = pool.entries(table)[slot].load(ordering: .relaxed)
        link(table, slot, old: old, leaf)
        if old != 0 { discard(old, level: level, credits: &credits, retiring: &retiring) }
        takeLeafReserve(level, credits: &credits)
    }

    /// The table below an entry, made if there is none. A new one is not linked yet; it holds the
    /// old leaf's translation if a part of that stays (`keepsOld`).
    func openChild(
        _ old: UInt64, level: Int, keepsOld: Bool, credits: inout Int
    ) -> (child: UInt32, isLinked: Bool) {
        let entry = Format.decode(old, level: level)
        switch entry {
        case .table(let physical):
            return (child(at: physical), true)
        case .invalid, .malformed:
            return (takeTable(credits: &credits), false)
        case .memory, .null:
            dropLeafReserve(level, credits: &credits)
            let child = takeTable(credits: &credits)
            if keepsOld { fillSplit(child, of: entry, level: level, credits: &credits) }
            return (child, false)
        }
    }

    /// Fills a table with the translation of the leaf that it is to replace.
    private func fillSplit(
        _ child: UInt32, of leaf: PageTableEntry, level: Int, credits: inout Int
    ) {
        let hint = level == 1 ? Format.contiguousHint : 0
        let entries = pool.entries(child)
        switch leaf {
        case .memory(let physical, let flags, _):
            let entry = Format.memoryEntry(physical, level: level - 1, flags: flags)
            Self.fill(
                entries, Format.entriesPerTable, entry | hint, step: Format.memoryStep(level - 1))
        case .null(let flags, _):
            let entry = Format.nullEntry(level: level - 1, flags: flags)
            Self.fill(entries, Format.entriesPerTable, entry | hint, step: 0)
        case .invalid, .malformed, .table:
            return
        }
        pool.live[Int(child)] = UInt16(Format.entriesPerTable)
        takeLeafReserve(level - 1, count: Format.entriesPerTable, credits: &credits)
    }

    /// The leaf of the next level up that says the same as all entries of a table, if there is one.
    private func mergedLeaf(_ table: UInt32, level: Int) -> UInt64? {
        let count = Format.entriesPerTable
        guard level < Format.largestLeafLevel, Int(pool.live[Int(table)]) == count else {
            return nil
        }
        let entries = pool.entries(table)
        let mask = level == 0 ? ~Format.contiguousHint : ~0
        let first = entries[0].load(ordering: .relaxed) & mask
        let leaf: UInt64
        let step: UInt64
        switch Format.decode(first, level: level) {
        case .memory(let physical, let flags, _):
            guard physical & (Format.span(level + 1) &- 1) == 0 else { return nil }
            step = Format.memoryStep(level)
            leaf = Format.memoryEntry(physical, level: level + 1, flags: flags)
        case .null(let flags, _):
            step = 0
            leaf = Format.nullEntry(level: level + 1, flags: flags)
        case .invalid, .malformed, .table:
            return nil
        }
        // The last entry first: it differs in nearly every table that cannot be merged.
        let last = first &+ step &* UInt64(count - 1)
        guard entries[count - 1].load(ordering: .relaxed) & mask == last else { return nil }
        var expected = first
        for slot in 0..<count {
            guard entries[slot].load(ordering: .relaxed) & mask == expected else { return nil }
            expected &+= step
        }
        return leaf
    }
}
