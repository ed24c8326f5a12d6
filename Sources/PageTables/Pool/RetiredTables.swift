/// Tables that are unlinked but may still be under a walker's eyes.
///
/// A list through the pool's own bookkeeping, so that adding to it allocates nothing. Once every MMU
/// has acknowledged the invalidation of what the tables mapped, ``TablePool/release(_:)`` makes
/// them available again; until then they keep their content and count as allocated.
///
/// Threading: owned by one job at a time.
public struct RetiredTables: ~Copyable, Sendable {
    var head: UInt32 = TablePool.none
    var tail: UInt32 = TablePool.none
    /// The number of tables in the list.
    public internal(set) var count = 0

    /// An empty list.
    public init() {}

    /// Whether there is nothing to release.
    public var isEmpty: Bool { count == 0 }

    deinit {
        // Dropping a list would lose its tables for ever: the accounting says so only much later.
        assert(count == 0, "retired tables dropped without a release")
    }
}
