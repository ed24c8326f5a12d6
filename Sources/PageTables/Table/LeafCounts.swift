/// How many leaves of each size a page table has.
public struct LeafCounts: Equatable, Sendable {
    /// Leaves that map memory, by the shift of their size (12, 16, 21, 30).
    public internal(set) var memory: [UInt8: Int] = [:]
    /// Null leaves, by the shift of their size.
    public internal(set) var null: [UInt8: Int] = [:]
    /// The bytes that the memory leaves map.
    public internal(set) var mappedBytes: UInt64 = 0
    /// The bytes that the null leaves cover.
    public internal(set) var nullBytes: UInt64 = 0

    /// Counts nothing.
    public init() {}

    mutating func count(_ leaf: PageTableLeaf) {
        if leaf.isNull {
            null[leaf.sizeShift, default: 0] += 1
            nullBytes += leaf.bytes
        } else {
            memory[leaf.sizeShift, default: 0] += 1
            mappedBytes += leaf.bytes
        }
    }
}
