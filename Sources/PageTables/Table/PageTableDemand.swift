/// How many tables an array of operations may take, when one job carries all of it out.
///
/// Each map is charged for the spans that it touches (``PageTableWriting/tablesNeeded(address:range:)``).
/// As long as the array has only maps into unmapped ranges, its maps are disjoint, and a span is
/// charged twice at most, however many of them share it: once for the tables that they bring, once
/// for the reserve of the large leaf that the last one may complete. Nobody else can complete it in
/// between, since jobs on overlapping ranges are ordered. Only a map's first and last span of a level
/// can be shared at all.
///
/// Threading: one thread at a time.
public struct PageTableDemand {
    private let charges: [TableCharge]
    /// By charge: how often a span at the edge of a map was charged, by its index.
    private var charged: [[UInt64: UInt8]]
    private var hasOnlyInsertions = true

    /// Demands nothing of a page table of class `table`.
    public init(_ table: any PageTableWriting.Type) {
        charges = table.charges
        charged = Array(repeating: [:], count: charges.count)
    }

    /// Takes note of an operation that removes or splits mappings: later maps are charged in full.
    public mutating func addRemoval() { hasOnlyInsertions = false }

    /// How many tables more a map needs.
    ///
    /// - Parameters: As of ``PageTableWriting/tablesNeeded(address:range:)``; the range is not empty.
    public mutating func addMap(address: UInt64, range: UInt64) -> Int {
        let last = address + (range - 1)
        var count = 0
        for (level, charge) in charges.enumerated() {
            count += charge.pages * charge.spans(from: address, to: last)
            guard hasOnlyInsertions else { continue }
            let limit: UInt8 = charge.isLeaf ? 2 : 1
            let edges = [address >> charge.shift, last >> charge.shift]
            for span in edges[0] == edges[1] ? edges.prefix(1) : edges[...] {
                let charges = charged[level][span, default: 0]
                if charges == limit {
                    count -= charge.pages
                } else {
                    charged[level][span] = charges + 1
                }
            }
        }
        return count
    }
}
