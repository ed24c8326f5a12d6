import Fencing
import Synchronization

extension GP100PageTable {
    /// Unmaps a range of addresses; where nothing is mapped, nothing happens.
    ///
    /// The rules of ``FormattedPageTable/unmap(_:range:retiring:)`` apply, but for the reservation: memory
    /// needs none, and a sparse entry that the range cuts does.
    ///
    /// Complexity: O(leaves and tables in the range).
    /// - Parameters:
    ///   - address: The first virtual address, page-aligned.
    ///   - range: The number of bytes, page-aligned, not 0.
    ///   - reservation: ``PageTableWriting/unmapTablesNeeded(address:range:)`` tables, or none if nothing
    ///     sparse is cut; gains what replaced leaves held.
    ///   - retired: Gains the tables that became empty or unreachable.
    public func unmap(
        _ address: UInt64, range: UInt64, using reservation: inout TableReservation,
        retiring retired: inout RetiredTables
    ) {
        precondition(Self.isValidRange(address, range: range), "a range outside of the space")
        precondition(reservation.pool === pool, "a reservation of another pool")
        lock.withLock {
            assertUsable()
            clear(
                root, level: GP100Format.rootLevel, from: address, to: address &+ range,
                credits: &reservation.count, retiring: &retired)
        }
    }

    /// Takes memory away, for who moves a buffer out of tables whose owners may close them at any
    /// moment: a destroyed table stays as it is.
    ///
    /// Tables and reserves stay where the memory was, in held entries, so that mapping memory there
    /// again, making it read zero and unmapping it need nothing. Where no table is, and in sparse entries
    /// above the pages', nothing happens.
    public func zap(_ address: UInt64, range: UInt64, retiring retired: inout RetiredTables) {
        precondition(Self.isValidRange(address, range: range), "a range outside of the space")
        lock.withLock {
            guard !isDestroyed else { return }
            var credits = 0
            holdMemory(
                root, level: GP100Format.rootLevel, from: address, to: address &+ range,
                credits: &credits, retiring: &retired)
            pool.unreserve(credits)
        }
    }

    private func holdMemory(
        _ table: UInt32, level: Int, from start: UInt64, to end: UInt64, credits: inout Int,
        retiring: inout RetiredTables
    ) {
        let span = GP100Format.span(level)
        var address = start
        while address < end {
            let next = min(end, (address | (span &- 1)) &+ 1)
            if level == 1 {
                let words = pool.entries(table) + 2 &* GP100Format.index(address, 1)
                let old = GP100Span(words)
                if !old.isEmpty && old.low != GP100Format.sparse {
                    var source = LeafSource(nullBytes: next &- address, flags: [], isHeld: true)
                    writeSpan(
                        table, from: address, to: next, source: &source, 0, credits: &credits,
                        retiring: &retiring)
                }
            } else {
                let slot = pool.entries(table) + GP100Format.index(address, level)
                let entry = slot.pointee.load(ordering: .relaxed)
                if entry & GP100Format.apertureMask != 0 {
                    holdMemory(
                        child(entry), level: level - 1, from: address, to: next,
                        credits: &credits, retiring: &retiring)
                }
            }
            address = next
        }
    }

    private func clear(
        _ table: UInt32, level: Int, from start: UInt64, to end: UInt64,
        credits: inout Int, retiring: inout RetiredTables
    ) {
        let span = GP100Format.span(level)
        var address = start
        while address < end && pool.live[Int(table)] != 0 {
            let next = min(end, (address | (span &- 1)) &+ 1)
            if level == 1 {
                clearSpan(
                    table, from: address, to: next, credits: &credits,
                    retiring: &retiring)
            } else {
                clearEntry(
                    table, level: level, from: address, to: next, credits: &credits,
                    retiring: &retiring)
            }
            address = next
        }
    }

    /// Clears the part `start..<end` of what one entry above PDE0 spans.
    private func clearEntry(
        _ table: UInt32, level: Int, from start: UInt64, to end: UInt64,
        credits: inout Int, retiring: inout RetiredTables
    ) {
        let slot = pool.entries(table) + GP100Format.index(start, level)
        let old = slot.pointee.load(ordering: .relaxed)
        if old == 0 { return }
        let isSparse = old == GP100Format.sparse
        let isWhole = end &- start == GP100Format.span(level)
        if isWhole && isSparse {
            slot.pointee.store(0, ordering: .releasing)
            pool.live[Int(table)] &-= 1
            return
        }
        let child = openChild(old, level: level, credits: &credits)
        if !isWhole {
            clear(
                child, level: level - 1, from: start, to: end, credits: &credits,
                retiring: &retiring)
            // The table of a cut entry has something left: the other part.
            if isSparse { return link(child, slot) }
        }
        if isWhole || pool.live[Int(child)] == 0 {
            slot.pointee.store(0, ordering: .releasing)
            pool.live[Int(table)] &-= 1
            retireSubtree(child, level: level - 1, credits: &credits, retiring: &retiring)
        }
    }

    private func clearSpan(
        _ directory: UInt32, from start: UInt64, to end: UInt64,
        credits: inout Int, retiring: inout RetiredTables
    ) {
        let words = pool.entries(directory) + 2 &* GP100Format.index(start, 1)
        let old = GP100Span(words)
        if old.isEmpty { return }
        if end &- start == GP100Format.span(1) {
            words[0].store(0, ordering: .releasing)
            words[1].store(0, ordering: .releasing)
            pool.live[Int(directory)] &-= 1
            discard(old, credits: &credits, retiring: &retiring)
            return
        }
        let first = Int(truncatingIfNeeded: (start &>> frameShift) & 511)
        let last = first &+ Int(truncatingIfNeeded: (end &- start) &>> frameShift)
        var editor = GP100SpanEditor(self, directory, words, old, first, last, credits: &credits)
        editor.clear()
        editor.finish(credits: &credits, retiring: &retiring)
    }
}
