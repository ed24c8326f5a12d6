import Fencing
import Synchronization

/// For reports, tools and tests. All of it takes the writer's lock, which an engine's access may
/// not be inside of.
extension FormattedPageTable {
    /// Walks the tables for one address and keeps what it read.
    public func walk(_ address: UInt64) -> PageTableWalk {
        lock.withLock {
            assertUsable()
            var walk = PageTableWalk(address: address, result: lookUp(address))
            guard address >> UInt64(Format.addressBits) == 0 else { return walk }
            var table = root
            for level in (0...Format.rootLevel).reversed() {
                let index = Format.index(address, level)
                let entry = pool.entries(table)[index].load(ordering: .relaxed)
                let meaning = Format.decode(entry, level: level)
                walk.append(
                    PageTableWalk.Step(
                        level: level, table: pool.address(table), index: index, entry: entry,
                        meaning: meaning))
                guard case .table(let physical) = meaning, let child = pool.table(at: physical)
                else { break }
                table = child
            }
            return walk
        }
    }

    /// Calls `body` for each leaf that overlaps a range, in the order of addresses.
    ///
    /// Complexity: O(leaves and tables in the range).
    public func forEachLeaf(
        from address: UInt64 = 0, range: UInt64 = .max, _ body: (PageTableLeaf) -> Void
    ) {
        guard range != 0 else { return }
        let (sum, overflow) = address.addingReportingOverflow(range - 1)
        lock.withLock {
            assertUsable()
            visit(
                root, level: Format.rootLevel, base: 0, first: address,
                last: overflow ? .max : sum, body)
        }
    }

    /// Counts the leaves by size, and the bytes that they map.
    public func countLeaves() -> LeafCounts {
        var counts = LeafCounts()
        forEachLeaf { counts.count($0) }
        return counts
    }

    /// Calls `body` for each linked table: its physical address, its level, the first virtual
    /// address of its span. Dumps are made of this.
    public func forEachTable(_ body: (PhysicalAddress, Int, UInt64) -> Void) {
        lock.withLock {
            assertUsable()
            visitTables(root, level: Format.rootLevel, base: 0, body)
        }
    }

    /// Counts afresh what the table holds of its pool.
    public func audit() -> PageTableAudit {
        lock.withLock {
            assertUsable()
            var audit = PageTableAudit()
            audit.heldReserve = leafReserve
            visitTables(root, level: Format.rootLevel, base: 0) { address, level, _ in
                let table = child(at: address)
                audit.tables += 1
                var live = 0
                for slot in 0..<Format.entriesPerTable {
                    let entry = pool.entries(table)[slot].load(ordering: .relaxed)
                    switch Format.decode(entry, level: level) {
                    case .invalid: continue
                    case .malformed: audit.malformedEntries += 1
                    case .table: break
                    case .memory, .null: audit.neededReserve += Format.splitCost(level)
                    }
                    live += 1
                }
                if live != Int(pool.live[Int(table)]) || (live == 0 && table != root) {
                    audit.wrongTables += 1
                }
            }
            return audit
        }
    }

    private func visit(
        _ table: UInt32, level: Int, base: UInt64, first: UInt64, last: UInt64,
        _ body: (PageTableLeaf) -> Void
    ) {
        let span = Format.span(level)
        let entries = pool.entries(table)
        var slot = first > base ? Int((first - base) >> Format.shift(level)) : 0
        while slot < Format.entriesPerTable {
            let address = base + UInt64(slot) * span
            if address > last { return }
            let entry = Format.decode(entries[slot].load(ordering: .relaxed), level: level)
            switch entry {
            case .invalid, .malformed:
                slot += 1
            case .table(let physical):
                visit(
                    child(at: physical), level: level - 1, base: address, first: first,
                    last: last, body)
                slot += 1
            case .memory(_, let flags, let contiguous), .null(let flags, let contiguous):
                let shift = Self.leafShift(level, contiguous)
                var isNull = true
                var physical: PhysicalAddress = 0
                if case .memory(let frame, _, _) = entry {
                    isNull = false
                    physical = Self.alignDown(frame, shift)
                }
                body(
                    PageTableLeaf(
                        address: Self.alignDown(address, shift), physical: physical,
                        sizeShift: UInt8(shift), isNull: isNull, flags: flags))
                let group = contiguous ? Format.contiguousEntries : 1
                slot = (slot / group + 1) * group
            }
        }
    }

    private func visitTables(
        _ table: UInt32, level: Int, base: UInt64, _ body: (PhysicalAddress, Int, UInt64) -> Void
    ) {
        body(pool.address(table), level, base)
        guard level > 0 else { return }
        for slot in 0..<Format.entriesPerTable {
            let entry = pool.entries(table)[slot].load(ordering: .relaxed)
            guard case .table(let physical) = Format.decode(entry, level: level) else { continue }
            visitTables(
                child(at: physical), level: level - 1,
                base: base + UInt64(slot) * Format.span(level),
                body)
        }
    }
}
