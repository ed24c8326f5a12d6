import PageTables

/// A set of addresses as ascending, disjoint, non-adjacent ranges.
struct AddressRanges {
    private let ranges: [Range<UInt64>]

    /// Joins ranges that end below 2^64. O(n log n).
    init(_ list: [VirtualRange]) {
        var joined: [Range<UInt64>] = []
        for range in list.sorted(by: { $0.address < $1.address }) {
            let end = range.address + range.bytes
            if let last = joined.last, range.address <= last.upperBound {
                joined[joined.count - 1] = last.lowerBound..<max(last.upperBound, end)
            } else {
                joined.append(range.address..<end)
            }
        }
        ranges = joined
    }

    /// The ranges.
    var list: [VirtualRange] {
        ranges.map { VirtualRange(address: $0.lowerBound, bytes: $0.upperBound - $0.lowerBound) }
    }

    /// Whether an address is in both. O(ranges of both); O(1) if they lie apart.
    func overlaps(_ other: AddressRanges) -> Bool {
        guard let first = ranges.first, let last = ranges.last,
            let otherFirst = other.ranges.first, let otherLast = other.ranges.last,
            first.lowerBound < otherLast.upperBound, otherFirst.lowerBound < last.upperBound
        else { return false }
        var (mine, its) = (0, 0)
        while mine < ranges.count && its < other.ranges.count {
            if ranges[mine].upperBound <= other.ranges[its].lowerBound {
                mine += 1
            } else if other.ranges[its].upperBound <= ranges[mine].lowerBound {
                its += 1
            } else {
                return true
            }
        }
        return false
    }
}
