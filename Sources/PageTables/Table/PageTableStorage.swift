import Fencing
import Synchronization

// @unchecked: `leafReserve` and `isDestroyed` are guarded by `lock`.
/// What the page tables of all formats are made of: pages of a pool, from the root's on, how many they
/// are, and their end.
///
/// Threading: as the methods say; what changes the tables holds `lock`.
public class PageTableStorage: @unchecked Sendable {
    /// Where the tables come from.
    public let pool: TablePool
    final let root: UInt32
    final let lock = Lock(.pageTable)
    /// How many tables the large leaves hold in reserve; part of the pool's `reserved`.
    final var leafReserve = 0 {
        didSet { held.add(leafReserve - oldValue, ordering: .relaxed) }
    }
    /// Tables and reserves, for who asks without the lock.
    private let held = Atomic<Int>(1)
    private(set) final var isDestroyed = false

    /// Takes one page, the root.
    ///
    /// - Throws: ``PageTableError/outOfTables(requested:available:)``.
    init(pool: TablePool) throws(PageTableError) {
        var reservation = try pool.reserve(1)
        self.pool = pool
        root = pool.take()
        reservation.count -= 1
    }

    /// The physical address of the root table.
    public final var rootAddress: PhysicalAddress { pool.address(root) }

    /// How many pages of the pool are its tables or its leaves' reserves; takes no lock.
    public final var heldPages: Int { held.load(ordering: .relaxed) }

    /// Returns every table and every reserve to the pool; the table must not be used afterwards.
    ///
    /// To be called when no MMU can walk it any more: after ``AddressSpace/close()`` and
    /// ``InvalidationDomain/invalidateAll(space:)``. A second call does nothing.
    public final func destroy() { lock.withLock { tearDown() } }

    /// As ``destroy()``, without the lock: nobody holds the table any more, so no MMU can walk it. To be
    /// called in a format's `deinit`, which still knows how its tables hang together.
    final func tearDown() {
        guard !isDestroyed else { return }
        isDestroyed = true
        var credits = 0
        var tables = RetiredTables()
        retireAll(credits: &credits, retiring: &tables)
        pool.unreserve(credits)
        pool.release(&tables)
    }

    /// Unlinks the root and all below it; the leaves' reserves become `credits`. A format's own.
    func retireAll(credits: inout Int, retiring: inout RetiredTables) {
        preconditionFailure("a page table has a format")
    }

    /// An unlinked table is no longer this page table's.
    @inline(__always)
    final func retireTable(_ table: UInt32, to retiring: inout RetiredTables) {
        held.subtract(1, ordering: .relaxed)
        pool.retire(table, to: &retiring)
    }

    /// A new table of invalid entries, not linked.
    @inline(__always)
    final func takeTable(credits: inout Int) -> UInt32 {
        credits &-= 1
        precondition(credits >= 0, "a page-table operation outspent its reservation")
        held.add(1, ordering: .relaxed)
        return pool.take()
    }

    /// The table that an entry of ours points to.
    @inline(__always)
    final func child(at physical: PhysicalAddress) -> UInt32 {
        guard let table = pool.table(at: physical) else {
            // Only this writer writes entries, and it links the pool's tables only.
            fatalError("page table corrupt: a table outside of the pool")
        }
        return table
    }

    @inline(__always)
    final func assertUsable() {
        precondition(!isDestroyed, "the page table has been destroyed")
    }
}
