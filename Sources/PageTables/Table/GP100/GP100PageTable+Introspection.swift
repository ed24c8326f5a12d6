import Fencing
import Synchronization

/// For reports, tools and tests. All of it takes the writer's lock, which an engine's access may
/// not be inside of.
extension GP100PageTable {
    /// Walks the tables for one address and keeps what it read.
    ///
    /// The step of level 1 is the half of the PDE0 that the walk went on with, that of level 0 the
    /// entry of the big table if it maps something or is sparse, else of the small one;
    /// ``decode(_:)`` shows all of them.
    public func walk(_ address: UInt64) -> PageTableWalk {
        lock.withLock {
            assertUsable()
            var walk = PageTableWalk(address: address, result: lookUp(address))
            guard address >> UInt64(GP100Format.addressBits) == 0 else { return walk }
            let way = readWay(address)
            let endsBig =
                !way.contains { $0.kind == .smallPage }
                || way.contains { $0.isDecisiveBig }
            for entry in way {
                switch entry.kind {
                case .smallHalf where endsBig, .smallPage where endsBig: continue
                case .bigHalf where !endsBig, .bigPage where !endsBig: continue
                case .directory, .bigHalf, .smallHalf, .largePage, .bigPage, .smallPage: break
                }
                walk.append(
                    PageTableWalk.Step(
                        level: entry.level, table: entry.table, index: entry.index,
                        entry: entry.rawValue, meaning: meaning(of: entry)))
            }
            return walk
        }
    }

    /// Every entry that a walk for one address may read, in its order: both halves of the PDE0 and both
    /// page-table entries if they are there.
    public func decode(_ address: UInt64) -> [GP100Entry] {
        lock.withLock {
            assertUsable()
            return address >> UInt64(GP100Format.addressBits) == 0 ? readWay(address) : []
        }
    }

    func readWay(_ address: UInt64) -> [GP100Entry] {
        var way: [GP100Entry] = []
        var table = root
        for level in (2...GP100Format.rootLevel).reversed() {
            let entry = entry(
                .directory(level), table, GP100Format.index(address, level), address)
            way.append(entry)
            guard case .table(let physical) = follow(entry.rawValue),
                let child = pool.table(at: physical)
            else { return way }
            table = child
        }
        let index = GP100Format.index(address, 1)
        let low = entry(.bigHalf, table, index, address)
        way.append(low)
        let span = GP100Span(pool.entries(table) + 2 * index)
        if low.rawValue & GP100Format.valid != 0 {
            way[way.count - 1].kind = .largePage
            return way
        }
        let high = entry(.smallHalf, table, index, address)
        way.append(high)
        let physical = format.table(low.rawValue, unit: 256)
        if span.hasBig, let big = pool.table(at: physical) {
            way.append(
                entry(
                    .bigPage, big, GP100Format.index(address, 0), address,
                    offset: physical & (frameSize - 1)))
        }
        if high.rawValue & GP100Format.apertureMask != 0,
            let small = pool.table(at: format.table(high.rawValue))
        {
            way.append(entry(.smallPage, small, Int((address >> frameShift) & 511), address))
        }
        return way
    }

    /// Reads one entry of the table that is `offset` bytes into its page.
    func entry(
        _ kind: GP100Entry.Kind, _ table: UInt32, _ index: Int, _ address: UInt64,
        offset: UInt64 = 0
    ) -> GP100Entry {
        let word: Int
        switch kind {
        case .bigHalf, .largePage: word = 2 * index
        case .smallHalf: word = 2 * index + 1
        case .directory, .bigPage, .smallPage: word = index + Int(offset >> 3)
        }
        let span = kind.span
        return GP100Entry(
            kind: kind, table: pool.address(table) + offset, index: index,
            rawValue: pool.entries(table)[word].load(ordering: .relaxed),
            address: address & ~(span - 1))
    }

    private func meaning(of entry: GP100Entry) -> PageTableEntry {
        switch entry.kind {
        case .directory:
            follow(entry.rawValue)
        case .largePage, .bigPage, .smallPage:
            format.decode(entry.rawValue, sizeShift: UInt64(entry.kind.span.trailingZeroBitCount))
        case .bigHalf:
            entry.rawValue & GP100Format.apertureMask != 0
                ? .table(format.table(entry.rawValue, unit: 256)) : follow(entry.rawValue)
        case .smallHalf:
            entry.rawValue & GP100Format.apertureMask != 0
                ? .table(format.table(entry.rawValue)) : .invalid
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
            visitLeaves(
                root, level: GP100Format.rootLevel, base: 0, first: address,
                last: overflow ? .max : sum, body)
        }
    }

    private func visitLeaves(
        _ table: UInt32, level: Int, base: UInt64, first: UInt64, last: UInt64,
        _ body: (PageTableLeaf) -> Void
    ) {
        let span = GP100Format.span(level)
        var slot = first > base ? Int((first - base) >> GP100Format.shift(level)) : 0
        while slot < GP100Format.entryCount(level) {
            let address = base + UInt64(slot) * span
            if address > last { return }
            if level == 1 {
                visitSpan(
                    GP100Span(pool.entries(table) + 2 * slot), address, first: first, last: last,
                    body)
            } else {
                let entry = pool.entries(table)[slot].load(ordering: .relaxed)
                switch follow(entry) {
                case .table:
                    visitLeaves(
                        child(entry), level: level - 1, base: address, first: first, last: last,
                        body)
                case .null: report(entry, address, GP100Format.shift(level), body)
                case .invalid, .memory, .malformed: break
                }
            }
            slot += 1
        }
    }

    private func visitSpan(
        _ span: GP100Span, _ base: UInt64, first: UInt64, last: UInt64,
        _ body: (PageTableLeaf) -> Void
    ) {
        if span.isLeaf {
            report(span.low, base, 21, body)
            return
        }
        for slot in 0..<32 {
            let address = base + UInt64(slot) << 16
            if address > last { return }
            if address + 0xffff < first { continue }
            if span.hasBig {
                let entry = pool.entries(big(span))[slot].load(ordering: .relaxed)
                if report(entry, address, 16, body) { continue }
            }
            guard span.hasSmall else { continue }
            for page in 0..<16 {
                let pageAddress = address + UInt64(page) << frameShift
                if pageAddress > last { return }
                if pageAddress + (frameSize - 1) < first { continue }
                let entry = pool.entries(small(span))[slot << 4 + page].load(ordering: .relaxed)
                report(entry, pageAddress, 12, body)
            }
        }
    }

    @discardableResult
    private func report(
        _ entry: UInt64, _ address: UInt64, _ shift: UInt64, _ body: (PageTableLeaf) -> Void
    ) -> Bool {
        switch format.decode(entry, sizeShift: shift) {
        case .memory(let physical, let flags, _):
            body(
                PageTableLeaf(
                    address: address, physical: physical, sizeShift: UInt8(shift), isNull: false,
                    flags: flags, kind: GP100PTE(rawValue: entry).kind))
        case .null(let flags, _):
            body(
                PageTableLeaf(
                    address: address, physical: 0, sizeShift: UInt8(shift), isNull: true,
                    flags: flags))
        case .invalid, .malformed, .table:
            return false
        }
        return true
    }

    /// Calls `body` for each linked table: its physical address, its level, the first virtual address
    /// of its span. A PDE0's big and small table are both of level 0.
    public func forEachTable(_ body: (PhysicalAddress, Int, UInt64) -> Void) {
        lock.withLock {
            assertUsable()
            visitTables(root, level: GP100Format.rootLevel, base: 0, body)
        }
    }

    private func visitTables(
        _ table: UInt32, level: Int, base: UInt64, _ body: (PhysicalAddress, Int, UInt64) -> Void
    ) {
        body(pool.address(table), level, base)
        for slot in 0..<GP100Format.entryCount(level) {
            let address = base + UInt64(slot) * GP100Format.span(level)
            if level == 1 {
                let span = GP100Span(pool.entries(table) + 2 * slot)
                if span.hasBig { body(pool.address(big(span)), 0, address) }
                if span.hasSmall { body(pool.address(small(span)), 0, address) }
                continue
            }
            let entry = pool.entries(table)[slot].load(ordering: .relaxed)
            if case .table = follow(entry) {
                visitTables(child(entry), level: level - 1, base: address, body)
            }
        }
    }
}
