import Synchronization

/// The two tables of a span of 2 MiB, for reading.
struct GP100SpanTables {
    private var big: UnsafeMutablePointer<Atomic<UInt64>>?
    private var small: UnsafeMutablePointer<Atomic<UInt64>>?

    init(_ table: GP100PageTable, _ span: GP100Span) {
        big = span.hasBig ? table.pool.entries(table.big(span)) : nil
        small = span.hasSmall ? table.pool.entries(table.small(span)) : nil
    }

    init(
        big: UnsafeMutablePointer<Atomic<UInt64>>?, small: UnsafeMutablePointer<Atomic<UInt64>>?
    ) {
        self.big = big
        self.small = small
    }

    /// Whether the pages `first..<last` translate as they would in a leaf of 2 MiB, `leaf`.
    ///
    /// Complexity: O(entries compared), up to the first that differs.
    func says(_ leaf: UInt64, from first: Int, to last: Int) -> Bool {
        let step = GP100Span.step(leaf)
        var page = first
        while page < last {
            let slot = page >> 4
            let next = min(last, (page | 15) &+ 1)
            let bigEntry = big?[slot].load(ordering: .relaxed) ?? 0
            if bigEntry != 0 {
                guard bigEntry == leaf &+ step &* UInt64(slot << 4) else { return false }
                page = next
                continue
            }
            guard let small else { return false }
            while page < next {
                let expected = leaf &+ step &* UInt64(page)
                guard small[page].load(ordering: .relaxed) == expected else { return false }
                page &+= 1
            }
        }
        return true
    }
}
