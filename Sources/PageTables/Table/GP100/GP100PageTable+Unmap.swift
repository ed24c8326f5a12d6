import Fencing
import Synchronization

extension GP100PageTable {
    /// Unmaps a range of addresses; where nothing is mapped, nothing happens.
    ///
    /// The rules of ``FormattedPageTable/unmap(_:range:retiring:)`` apply: no reservation is needed.
    /// Complexity: O(leaves and tables in the range).
    public func unmap(_ address: UInt64, range: UInt64, retiring retired: inout RetiredTables) {
        precondition(Self.isValidRange(address, range: range), "a range outside of the space")
        lock.withLock {
            assertUsable()
            clearAll(address, range: range, retiring: &retired)
        }
    }

    /// As ``unmap(_:range:retiring:)``, but nothing if the table has been destroyed: for who takes a
    /// buffer out of tables whose owners may close them at any moment.
    public func zap(_ address: UInt64, range: UInt64, retiring retired: inout RetiredTables) {
        precondition(Self.isValidRange(address, range: range), "a range outside of the space")
        lock.withLock {
            guard !isDestroyed else { return }
            clearAll(address, range: range, retiring: &retired)
        }
    }

    private func clearAll(
        _ address: UInt64, range: UInt64, retiring retired: inout RetiredTables
    ) {
        var credits = 0
        clear(
            root, level: GP100Format.rootLevel, from: address, to: address &+ range,
            credits: &credits, retiring: &retired)
        pool.unreserve(credits)
    }

    private func clear(
        _ table: UInt32, level: Int, from start: UInt64, to end: UInt64, credits: inout Int,
        retiring: inout RetiredTables
    ) {
        let span = GP100Format.span(level)
        var address = start
        while address < end && pool.live[Int(table)] != 0 {
            let next = min(end, (address | (span &- 1)) &+ 1)
            if level == 1 {
                clearSpan(table, from: address, to: next, credits: &credits, retiring: &retiring)
                address = next
                continue
            }
            let slot = pool.entries(table) + GP100Format.index(address, level)
            let old = slot.pointee.load(ordering: .relaxed)
            if old != 0 {
                let child = child(old)
                let isWhole = next &- address == span
                if !isWhole {
                    clear(
                        child, level: level - 1, from: address, to: next, credits: &credits,
                        retiring: &retiring)
                }
                if isWhole || pool.live[Int(child)] == 0 {
                    slot.pointee.store(0, ordering: .releasing)
                    pool.live[Int(table)] &-= 1
                    retireSubtree(
                        child, level: level - 1, credits: &credits, retiring: &retiring)
                }
            }
            address = next
        }
    }

    private func clearSpan(
        _ directory: UInt32, from start: UInt64, to end: UInt64, credits: inout Int,
        retiring: inout RetiredTables
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
