/// What an MMU has done since it was made.
public struct MMUStatistics: Equatable, Sendable {
    /// Look-ups that the TLB answered, the cache of the last translation included.
    public internal(set) var hits: UInt64 = 0
    /// Look-ups that walked the page table.
    public internal(set) var misses: UInt64 = 0
    /// Ranges and spaces invalidated.
    public internal(set) var invalidations: UInt64 = 0
    /// TLB entries that invalidations removed.
    public internal(set) var invalidatedEntries: UInt64 = 0
    /// TLB entries that made room for others.
    public internal(set) var evictions: UInt64 = 0
    /// Bytes translated for reads and fetches.
    public internal(set) var bytesRead: UInt64 = 0
    /// Bytes translated for writes.
    public internal(set) var bytesWritten: UInt64 = 0
    /// Translations that faulted.
    public internal(set) var faults: UInt64 = 0

    /// Nothing yet.
    public init() {}
}
