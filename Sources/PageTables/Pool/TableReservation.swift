/// The right to take a number of tables from a pool, without failing and without allocating.
///
/// Made at submission by ``TablePool/reserve(_:)`` and spent by the job; what is left goes back to
/// the pool when the value is destroyed.
///
/// Threading: owned by one job at a time.
public struct TableReservation: ~Copyable, Sendable {
    /// The pool that has promised the tables.
    public let pool: TablePool
    /// How many tables are still promised.
    public internal(set) var count: Int

    init(pool: TablePool, count: Int) {
        self.pool = pool
        self.count = count
    }

    /// Adds `count` tables, from the same pool.
    ///
    /// - Throws: As ``TablePool/reserve(_:)``; nothing was added then.
    public mutating func grow(by count: Int) throws(PageTableError) {
        try pool.promise(count)
        self.count += count
    }

    /// Adds another reservation of the same pool to this one.
    public mutating func absorb(_ other: consuming TableReservation) {
        precondition(other.pool === pool, "reservations of different pools")
        count += other.count
        other.count = 0
    }

    deinit { pool.unreserve(count) }
}
