/// How many tables an array of operations may take, when one job carries all of it out.
///
/// Each map is charged for the spans that it touches (``FormattedPageTable/tablesNeeded(address:range:)``).
/// As long as the array has only maps into unmapped ranges, its maps are disjoint, and a span is
/// charged twice at most, however many of them share it: once for the table that the first one
/// brings, once for the reserve of the large leaf that the last one may complete. Nobody else can
/// complete it in between, since jobs on overlapping ranges are ordered. Only a map's first and last
/// span of a level can be shared at all.
///
/// Threading: one thread at a time.
public struct TableDemand<Format: PageTableFormat> {
    /// By level: how often a span at the edge of a map was charged, by its index.
    private var charged: [[UInt64: UInt8]] = Array(repeating: [:], count: Format.rootLevel)
    private var hasOnlyInsertions = true

    /// Demands nothing.
    public init() {}

    /// Takes note of an operation that removes or splits mappings: later maps are charged in full.
    public mutating func addRemoval() { hasOnlyInsertions = false }

    /// How many tables more a map needs.
    ///
    /// - Parameters: As of ``FormattedPageTable/tablesNeeded(address:range:)``; the range is not
    ///   empty.
    public mutating func addMap(address: UInt64, range: UInt64) -> Int {
        let full = FormattedPageTable<Format>.tablesNeeded(address: address, range: range)
        guard hasOnlyInsertions else { return full }
        let last = address + (range - 1)
        var count = full
        for level in 1...Format.rootLevel {
            // A span at the root's level is a table and never a leaf: one charge is enough.
            let limit: UInt8 = level <= Format.largestLeafLevel ? 2 : 1
            let edges = [address >> Format.shift(level), last >> Format.shift(level)]
            for span in edges[0] == edges[1] ? edges.prefix(1) : edges[...] {
                let charges = charged[level - 1][span, default: 0]
                if charges == limit {
                    count -= 1
                } else {
                    charged[level - 1][span] = charges + 1
                }
            }
        }
        return count
    }
}
