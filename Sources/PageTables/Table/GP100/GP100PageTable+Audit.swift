import Fencing
import Synchronization

extension GP100PageTable {
    /// Counts afresh what the table holds of its pool.
    ///
    /// Beside entries that the format does not allow, an address that both tables of a PDE0 map counts as
    /// malformed, and so does a second word beside a leaf of 2 MiB.
    public func audit() -> PageTableAudit {
        lock.withLock {
            assertUsable()
            var audit = PageTableAudit()
            audit.heldReserve = leafReserve
            count(root, level: GP100Format.rootLevel, &audit)
            return audit
        }
    }

    private func count(_ table: UInt32, level: Int, _ audit: inout PageTableAudit) {
        audit.tables += 1
        var live = 0
        for slot in 0..<GP100Format.entryCount(level) {
            if level == 1 {
                let span = GP100Span(pool.entries(table) + 2 * slot)
                if span.isEmpty { continue }
                live += 1
                audit.neededReserve += span.reserve
                count(span, &audit)
                continue
            }
            let entry = pool.entries(table)[slot].load(ordering: .relaxed)
            if entry == 0 { continue }
            live += 1
            switch follow(entry) {
            case .table: count(child(entry), level: level - 1, &audit)
            case .null where entry == GP100Format.sparse: break
            case .null, .invalid, .memory, .malformed: audit.malformedEntries += 1
            }
        }
        if live != Int(pool.live[Int(table)]) || (live == 0 && table != root) {
            audit.wrongTables += 1
        }
    }

    private func count(_ span: GP100Span, _ audit: inout PageTableAudit) {
        if span.isLeaf {
            if span.hasSmall { audit.malformedEntries += 1 }
            if case .malformed = format.decode(span.low, sizeShift: 21) {
                audit.malformedEntries += 1
            }
            return
        }
        var bigSlots: Set<Int> = []
        if span.hasBig {
            let table = big(span)
            audit.tables += 1
            for slot in 0..<32 {
                let entry = pool.entries(table)[slot].load(ordering: .relaxed)
                if count(entry, sizeShift: 16, &audit) { bigSlots.insert(slot) }
            }
            if bigSlots.count != Int(pool.live[Int(table)]) || bigSlots.isEmpty {
                audit.wrongTables += 1
            }
        }
        if span.hasSmall {
            let table = small(span)
            audit.tables += 1
            var live = 0
            for page in 0..<512 {
                let entry = pool.entries(table)[page].load(ordering: .relaxed)
                guard count(entry, sizeShift: 12, &audit) else { continue }
                live += 1
                if bigSlots.contains(page >> 4) { audit.malformedEntries += 1 }
            }
            if live != Int(pool.live[Int(table)]) || (live == 0 && bigSlots.isEmpty) {
                audit.wrongTables += 1
            }
        }
    }

    /// Whether a page-table entry maps something, holds its place, or should.
    private func count(
        _ entry: UInt64, sizeShift: UInt64, _ audit: inout PageTableAudit
    ) -> Bool {
        switch format.decode(entry, sizeShift: sizeShift) {
        case .invalid where entry == 0: return false
        case .invalid where entry == GP100Format.held: break
        case .invalid, .malformed, .table: audit.malformedEntries += 1
        case .memory, .null: break
        }
        return true
    }
}
