/// The free parts of an address space that the driver itself gives out.
///
/// Addresses are given out in ascending order, and again only after the end was reached: who uses
/// one that was given back faults for as long as possible.
///
/// Threading: none of its own. O(holes) a call.
struct AddressHoles {
    /// Ascending, none empty, none adjacent to the next.
    private var holes: [Range<UInt64>]
    private var cursor: UInt64

    init(_ space: Range<UInt64>) {
        holes = space.isEmpty ? [] : [space]
        cursor = space.lowerBound
    }

    /// Takes the first range of `bytes` at a multiple of `alignment` (a power of two) behind what was
    /// taken last, or else the first one; nil if there is none.
    mutating func take(_ bytes: UInt64, alignment: UInt64) -> Range<UInt64>? {
        guard let taken = find(bytes, alignment, from: cursor) ?? find(bytes, alignment, from: 0),
            let index = holes.firstIndex(where: { $0.contains(taken.lowerBound) })
        else { return nil }
        let hole = holes[index]
        let rest = [hole.lowerBound..<taken.lowerBound, taken.upperBound..<hole.upperBound]
        holes.replaceSubrange(index...index, with: rest.filter { !$0.isEmpty })
        cursor = taken.upperBound
        return taken
    }

    private func find(_ bytes: UInt64, _ alignment: UInt64, from start: UInt64) -> Range<UInt64>? {
        for hole in holes where hole.upperBound > start {
            let (padded, overflow) = max(hole.lowerBound, start)
                .addingReportingOverflow(alignment - 1)
            let first = padded & ~(alignment - 1)
            if !overflow, first < hole.upperBound, bytes <= hole.upperBound - first {
                return first..<first + bytes
            }
        }
        return nil
    }

    /// Gives a range back that was taken.
    mutating func give(_ range: Range<UInt64>) {
        var index = holes.firstIndex { $0.lowerBound >= range.upperBound } ?? holes.count
        var merged = range
        if index < holes.count, holes[index].lowerBound == range.upperBound {
            merged = merged.lowerBound..<holes.remove(at: index).upperBound
        }
        if index > 0, holes[index - 1].upperBound == range.lowerBound {
            index -= 1
            merged = holes.remove(at: index).lowerBound..<merged.upperBound
        }
        holes.insert(merged, at: index)
    }
}
