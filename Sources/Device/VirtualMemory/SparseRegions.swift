/// The sparse regions of a VM: ranges in which whatever is not mapped reads zero and drops writes.
///
/// They are no mappings: they lie under them, and an unmap inside of one shows it again. nouveau's
/// rules are of this kind (`struct nouveau_uvma_region`, drivers/gpu/drm/nouveau/nouveau_uvmm.c).
///
/// Threading: none of its own; it lies behind the VM's lock. A copy is O(1), a change O(regions).
struct SparseRegions: Equatable {
    /// Ascending and disjoint; neighbours are not joined.
    private(set) var regions: [Range<UInt64>] = []

    var isEmpty: Bool { regions.isEmpty }

    /// The first region that has an address in `range`. O(log regions).
    func first(overlapping range: Range<UInt64>) -> Range<UInt64>? {
        let index = firstIndex(endingAfter: range.lowerBound)
        guard index < regions.count, regions[index].lowerBound < range.upperBound else {
            return nil
        }
        return regions[index]
    }

    /// Whether exactly this range is a region. O(log regions).
    func contains(_ range: Range<UInt64>) -> Bool {
        first(overlapping: range) == range
    }

    /// Adds a range that overlaps no region.
    mutating func insert(_ range: Range<UInt64>) {
        regions.insert(range, at: firstIndex(endingAfter: range.lowerBound))
    }

    /// Forgets a region.
    ///
    /// - Returns: False if exactly this range is none.
    mutating func remove(_ range: Range<UInt64>) -> Bool {
        guard contains(range) else { return false }
        regions.remove(at: firstIndex(endingAfter: range.lowerBound))
        return true
    }

    /// Calls `body` with the pieces of `range`, in order, each wholly inside of a region, which it gets
    /// too, or outside of all. O(log regions + pieces).
    func forEachPiece<Failure: Error>(
        of range: Range<UInt64>, _ body: (Range<UInt64>, Range<UInt64>?) throws(Failure) -> Void
    ) throws(Failure) {
        var start = range.lowerBound
        var index = firstIndex(endingAfter: start)
        while index < regions.count, regions[index].lowerBound < range.upperBound {
            let region = regions[index]
            if start < region.lowerBound { try body(start..<region.lowerBound, nil) }
            start = max(start, region.lowerBound)
            let end = min(region.upperBound, range.upperBound)
            try body(start..<end, region)
            start = end
            index += 1
        }
        if start < range.upperBound { try body(start..<range.upperBound, nil) }
    }

    private func firstIndex(endingAfter address: UInt64) -> Int {
        var low = 0
        var high = regions.count
        while low < high {
            let middle = (low + high) / 2
            if regions[middle].upperBound <= address { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
