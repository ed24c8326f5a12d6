import Synchronization

/// Changes the pages `first..<last` of one span of 2 MiB, in its two tables.
///
/// What a walker may see decides the order. It reads the big entry, and the small one only if the big
/// one is invalid. So small entries are written first and then the big entry above them is taken
/// away; a big entry is written first, then the small ones below are cleared, between which
/// ``GP100PageTable/joins`` is counted up. A leaf of 2 MiB is split into tables that nobody sees yet;
/// the small one is linked first, since the first word of a PDE0 hides the second.
struct GP100SpanEditor {
    private let owner: GP100PageTable
    private let directory: UInt32
    private let words: UnsafeMutablePointer<Atomic<UInt64>>
    private let old: GP100Span
    private let first: Int
    private let last: Int
    private var big = TablePool.none
    private var small = TablePool.none
    /// The slots of 64 KiB that the operation has given big entries.
    private var bigSlots: UInt32 = 0
    /// Those that may have none at its end.
    private var smallSlots: UInt32 = 0

    /// Begins to edit a span; what it holds in reserve is the operation's to spend until the end.
    init(
        _ owner: GP100PageTable, _ directory: UInt32,
        _ words: UnsafeMutablePointer<Atomic<UInt64>>, _ old: GP100Span, _ first: Int,
        _ last: Int, credits: inout Int
    ) {
        self.owner = owner
        self.directory = directory
        self.words = words
        self.old = old
        self.first = first
        self.last = last
        credits &+= old.reserve
        if old.isLeaf {
            splitLeaf(credits: &credits)
        } else {
            if old.hasBig { big = owner.big(old) }
            if old.hasSmall { small = owner.small(old) }
        }
    }

    private var pool: TablePool { owner.pool }

    private func entries(_ table: UInt32) -> UnsafeMutablePointer<Atomic<UInt64>>? {
        table == TablePool.none ? nil : pool.entries(table)
    }

    private static func mask(_ slots: Range<Int>) -> UInt32 {
        let one: UInt64 = 1
        return UInt32(truncatingIfNeeded: (one << slots.upperBound) - (one << slots.lowerBound))
    }

    // MARK: tables

    /// New tables with what stays of the leaf; they are linked at the end.
    private mutating func splitLeaf(credits: inout Int) {
        let step = GP100Span.step(old.low)
        let headSlots = first >> 4
        let tailSlot = (last &+ 15) >> 4
        if headSlots > 0 || tailSlot < 32 {
            big = owner.takeTable(credits: &credits)
            let entries = pool.entries(big)
            PageTable.fill(entries, headSlots, old.low, step: step &<< 4)
            PageTable.fill(
                entries + tailSlot, 32 &- tailSlot, old.low &+ step &* UInt64(tailSlot << 4),
                step: step &<< 4)
            pool.live[Int(big)] = UInt16(headSlots &+ 32 &- tailSlot)
        }
        if first & 15 != 0 || last & 15 != 0 {
            small = owner.takeTable(credits: &credits)
            fillRest(of: headSlots, old.low, step)
            if tailSlot != headSlots &+ 1 {
                fillRest(of: tailSlot &- 1, old.low, step)
            }
        }
    }

    /// Gives the pages of a slot that the operation does not cover small entries, which are invalid
    /// so far.
    ///
    /// - Parameter leaf: The translation, as a leaf of the whole span.
    private func fillRest(of slot: Int, _ leaf: UInt64, _ step: UInt64) {
        let begin = slot << 4
        let head = max(0, min(first, begin &+ 16) &- begin)
        let tail = max(last, begin)
        let tailCount = max(0, begin &+ 16 &- tail)
        let entries = pool.entries(small)
        PageTable.fill(entries + begin, head, leaf &+ step &* UInt64(begin), step: step)
        if tailCount != 0 {
            PageTable.fill(entries + tail, tailCount, leaf &+ step &* UInt64(tail), step: step)
        }
        pool.live[Int(small)] &+= UInt16(head &+ tailCount)
    }

    /// A table that is made for a span that is no leaf is linked at once: empty, it changes nothing.
    private mutating func makeBig(credits: inout Int) {
        guard big == TablePool.none else { return }
        big = owner.takeTable(credits: &credits)
        guard !old.isLeaf else { return }
        words[0].store(owner.format.bigTableEntry(pool.address(big)), ordering: .releasing)
    }

    private mutating func makeSmall(credits: inout Int) {
        guard small == TablePool.none else { return }
        small = owner.takeTable(credits: &credits)
        guard !old.isLeaf else { return }
        words[1].store(owner.format.tableEntry(pool.address(small)), ordering: .releasing)
    }

    // MARK: pages

    /// Writes all pages from the source.
    mutating func write(_ source: inout LeafSource, _ kind: UInt8, credits: inout Int) {
        var page = first
        while page < last {
            let run = min(last &- page, Int(source.runBytes &>> frameShift))
            precondition(run > 0, "the extents are shorter than the range")
            let entry: UInt64
            let step: UInt64
            let isCongruent: Bool
            if source.isNull {
                entry = source.blank
                step = 0
                isCongruent = true
            } else {
                entry = owner.format.memoryEntry(source.physical, flags: source.flags, kind: kind)
                step = GP100Format.pageStep
                let frame = Int(truncatingIfNeeded: source.physical &>> frameShift)
                isCongruent = (frame ^ page) & 15 == 0
            }
            let part = min(16 &- (page & 15), last &- page)
            var count = isCongruent ? min(run, part) : run
            // What needs no reservation must do with the tables that are there.
            let mayBeBig = big != TablePool.none || small == TablePool.none || credits > 0
            if mayBeBig && isCongruent && run >= part && fillsSlot(page, part, entry, step) {
                count = part == 16 ? run & ~15 : part
                let slot = page >> 4
                let slots = (count &+ 15) >> 4
                makeBig(credits: &credits)
                put(
                    big, slot, slots, entry &- step &* UInt64(page & 15), step: step &<< 4)
                bigSlots |= Self.mask(slot..<(slot &+ slots))
            } else {
                makeSmall(credits: &credits)
                put(small, page, count, entry, step: step)
                smallSlots |= Self.mask((page >> 4)..<((page &+ count &+ 15) >> 4))
            }
            source.advance(UInt64(count) &<< frameShift)
            page &+= count
        }
    }

    /// Whether `part` pages from `page` on, which are one run, make their slot a leaf of 64 KiB.
    private func fillsSlot(_ page: Int, _ part: Int, _ entry: UInt64, _ step: UInt64) -> Bool {
        if part == 16 { return true }
        // The part must be all that the operation has in this slot: what came before it is written,
        // but a big entry above it not yet taken away.
        guard page & 15 == 0 || page == first else { return false }
        let tables = GP100SpanTables(big: entries(big), small: entries(small))
        let leaf = entry &- step &* UInt64(page)
        let begin = page & ~15
        // `leaf` is that of the span in any case; a sparse one has no step.
        return tables.says(leaf, from: page &+ part, to: begin &+ 16)
            && tables.says(leaf, from: begin, to: page)
    }

    /// Stores entries and counts them.
    @inline(__always)
    private func put(
        _ table: UInt32, _ first: Int, _ count: Int, _ entry: UInt64, step: UInt64
    ) {
        let entries = pool.entries(table)
        let live = Int(pool.live[Int(table)])
        let replaced = live == 0 ? 0 : countValid(entries, first, first &+ count)
        PageTable.fill(entries + first, count, entry, step: step)
        pool.live[Int(table)] = UInt16(live &+ count &- replaced)
    }

    private func countValid(
        _ entries: UnsafeMutablePointer<Atomic<UInt64>>, _ first: Int, _ last: Int
    ) -> Int {
        var count = 0
        for slot in first..<last where entries[slot].load(ordering: .relaxed) != 0 { count &+= 1 }
        return count
    }

    /// Invalidates all pages.
    mutating func clear() {
        smallSlots = Self.mask((first >> 4)..<((last &+ 15) >> 4))
        // The tables of a split leaf have nothing there.
        guard !old.isLeaf, small != TablePool.none else { return }
        remove(small, first, last &- first)
    }

    /// Invalidates small entries.
    private func remove(_ table: UInt32, _ first: Int, _ count: Int) {
        let live = pool.live[Int(table)]
        guard live != 0 else { return }
        let entries = pool.entries(table)
        let removed = countValid(entries, first, first &+ count)
        guard removed != 0 else { return }
        PageTable.fill(entries + first, count, 0, step: 0)
        pool.live[Int(table)] = live &- UInt16(removed)
    }

    // MARK: the end

    /// Leaves each address in one table only, links what was split, and unlinks what has become empty.
    mutating func finish(credits: inout Int, retiring: inout RetiredTables) {
        dropBigEntries(credits: &credits)
        dropSmallEntries()
        if big != TablePool.none && pool.live[Int(big)] == 0 {
            words[0].store(0, ordering: .releasing)
            owner.retireTable(big, to: &retiring)
            big = TablePool.none
        }
        if small != TablePool.none && pool.live[Int(small)] == 0 && big == TablePool.none {
            words[1].store(0, ordering: .releasing)
            owner.retireTable(small, to: &retiring)
            small = TablePool.none
        }
        if old.isLeaf {
            if small != TablePool.none {
                words[1].store(
                    owner.format.tableEntry(pool.address(small)), ordering: .releasing)
            }
            words[0].store(
                big == TablePool.none ? 0 : owner.format.bigTableEntry(pool.address(big)),
                ordering: .releasing)
        }
        let isEmpty = big == TablePool.none && small == TablePool.none
        if old.isEmpty && !isEmpty {
            pool.live[Int(directory)] &+= 1
        } else if !old.isEmpty && isEmpty {
            pool.live[Int(directory)] &-= 1
        }
        // The old reserve was lent to the operation when it began.
        let reserve = big != TablePool.none && small == TablePool.none ? 1 : 0
        credits &-= old.reserve
        owner.settle(old.reserve, reserve, credits: &credits)
    }

    /// Takes away the big entries of slots that are small now, leaving small ones for what the
    /// operation does not cover.
    private mutating func dropBigEntries(credits: inout Int) {
        guard big != TablePool.none else { return }
        let bigEntries = pool.entries(big)
        var left = smallSlots
        while left != 0 {
            let slot = left.trailingZeroBitCount
            left &= left &- 1
            let entry = bigEntries[slot].load(ordering: .relaxed)
            guard entry != 0 else { continue }
            if first > slot << 4 || last < (slot << 4) &+ 16 {
                makeSmall(credits: &credits)
                let step = GP100Span.step(entry)
                fillRest(of: slot, entry &- step &* UInt64(slot << 4), step)
            }
            bigEntries[slot].store(0, ordering: .releasing)
            pool.live[Int(big)] &-= 1
        }
    }

    /// Clears the small entries of slots that are big now.
    private func dropSmallEntries() {
        guard small != TablePool.none, pool.live[Int(small)] != 0 else { return }
        let entries = pool.entries(small)
        var left = bigSlots
        var isCounted = false
        while left != 0 {
            let slot = left.trailingZeroBitCount
            left &= left &- 1
            guard countValid(entries, slot << 4, (slot << 4) &+ 16) != 0 else { continue }
            if !isCounted {
                owner.joins.add(1, ordering: .releasing)
                isCounted = true
            }
            remove(small, slot << 4, 16)
        }
    }
}
