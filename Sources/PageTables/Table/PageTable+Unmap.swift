import Fencing
import Synchronization

extension FormattedPageTable {
    /// Unmaps a range of addresses; where nothing is mapped, nothing happens.
    ///
    /// Runs on the fence-signalling path: it neither fails nor allocates, and needs no reservation,
    /// since each large leaf holds the tables that splitting it takes. The caller has checked the
    /// range (``isValidRange(_:range:)``) and invalidates it in every MMU before it releases
    /// `retired` or reuses a frame that was mapped there.
    ///
    /// Complexity: O(leaves and tables in the range).
    /// - Parameters:
    ///   - address: The first virtual address, page-aligned.
    ///   - range: The number of bytes, page-aligned, not 0.
    ///   - retired: Gains the tables that became empty or unreachable.
    @specialized(where Format == Generic48Format)
    public func unmap(_ address: UInt64, range: UInt64, retiring retired: inout RetiredTables) {
        precondition(Self.isValidRange(address, range: range), "a range outside of the space")
        lock.withLock {
            assertUsable()
            clearAll(address, range: range, retiring: &retired)
        }
    }

    /// As ``unmap(_:range:retiring:)``, but nothing if the table has been destroyed: for who takes a
    /// buffer out of tables whose owners may close them at any moment.
    @specialized(where Format == Generic48Format)
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
            root, level: Format.rootLevel, from: address, to: address &+ range,
            credits: &credits, retiring: &retired)
        pool.unreserve(credits)
    }

    private func clear(
        _ table: UInt32, level: Int, from start: UInt64, to end: UInt64,
        credits: inout Int, retiring: inout RetiredTables
    ) {
        if level == 0 {
            clearFrames(table, from: start, to: end)
            return
        }
        let entries = pool.entries(table)
        let span = Format.span(level)
        var address = start
        while address < end && pool.live[Int(table)] != 0 {
            let slot = Format.index(address, level)
            let next = min(end, (address | (span &- 1)) &+ 1)
            let old = entries[slot].load(ordering: .relaxed)
            if old == 0 {
                address = next
                continue
            }
            if next &- address == span {
                unlink(table, slot)
                discard(old, level: level, credits: &credits, retiring: &retiring)
            } else {
                let (child, isLinked) = openChild(
                    old, level: level, keepsOld: true, credits: &credits)
                if !isLinked { link(table, slot, old: old, Format.tableEntry(pool.address(child))) }
                clear(
                    child, level: level - 1, from: address, to: next, credits: &credits,
                    retiring: &retiring)
                if pool.live[Int(child)] == 0 {
                    unlink(table, slot)
                    retireTable(child, to: &retiring)
                }
            }
            address = next
        }
    }

    @inline(__always)
    private func unlink(_ table: UInt32, _ slot: Int) {
        pool.entries(table)[slot].store(0, ordering: .releasing)
        pool.live[Int(table)] &-= 1
    }
}
