/// Lays arrays out one behind the other in a ``ReservedRegion``, each on a page of its own.
struct RegionLayout {
    private(set) var byteCount = 0
    /// Where each array starts.
    private(set) var offsets: [Int] = []

    /// Returns the offset of the next array.
    mutating func add<Element>(_ type: Element.Type, count: Int) -> Int {
        let offset = byteCount
        offsets.append(offset)
        byteCount += (count * MemoryLayout<Element>.stride + 4095) & ~4095
        return offset
    }

    /// Reserves the memory and advises the system on its use; nil if there is none.
    func makeRegion() -> ReservedRegion? {
        guard let region = ReservedRegion(byteCount: byteCount) else { return nil }
        for (start, end) in zip(offsets, offsets.dropFirst() + [byteCount]) {
            region.adviseHugePages(from: start, to: end)
        }
        return region
    }
}
