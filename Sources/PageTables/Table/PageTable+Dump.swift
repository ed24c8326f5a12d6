import Fencing
import Synchronization

/// The bytes, for tools. All of it takes the writer's lock, which an engine's access may not be inside
/// of.
extension FormattedPageTable {
    /// Calls `body` for each entry that is not all zero, from a place in the dump on, until it returns
    /// false; an entry stands before those of the table that it points to.
    public func forEachEntry(from position: UInt64, _ body: (TableEntry) -> Bool) {
        lock.withLock {
            assertUsable()
            _ = visitEntries(root, level: Format.rootLevel, base: 0, from: position, body)
        }
    }

    /// Every entry that a walk for one address reads, root first.
    public func entries(onWayTo address: UInt64) -> [TableEntry] {
        let walk = walk(address)
        return walk.steps.map { step in
            TableEntry(
                level: step.level, part: .whole, table: step.table, index: step.index,
                rawValue: step.entry, address: address & ~(Format.span(step.level) - 1),
                rank: UInt64(Format.rootLevel - step.level))
        }
    }

    /// - Returns: Whether to go on.
    private func visitEntries(
        _ table: UInt32, level: Int, base: UInt64, from position: UInt64,
        _ body: (TableEntry) -> Bool
    ) -> Bool {
        let span = Format.span(level)
        for slot in 0..<Format.entriesPerTable {
            let address = base + UInt64(slot) * span
            guard address + (span - 1) >= position else { continue }
            let raw = pool.entries(table)[slot].load(ordering: .relaxed)
            guard raw != 0 else { continue }
            let entry = TableEntry(
                level: level, part: .whole, table: pool.address(table), index: slot,
                rawValue: raw, address: address, rank: UInt64(Format.rootLevel - level))
            if entry.position >= position && !body(entry) { return false }
            guard case .table(let physical) = Format.decode(raw, level: level) else { continue }
            guard
                visitEntries(
                    child(at: physical), level: level - 1, base: address, from: position, body)
            else { return false }
        }
        return true
    }
}
