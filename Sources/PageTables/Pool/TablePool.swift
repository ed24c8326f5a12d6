import Fencing
import Glibc
import Synchronization

// @unchecked: the pointers never change; the counters and the free list are guarded by `lock`, the
// tables themselves are written by their page table's single writer with atomic stores.
/// The pages of private device memory that page tables are made of.
///
/// A page is free, allocated (in a table, or retired and not yet released), and every free page may
/// be promised once: `allocated + reserved <= capacity` holds at all times. Reservations are held by
/// jobs between submission and execution, and by the large leaves of the page tables: each holds as
/// many as it takes to split it completely, so that an unmap never needs a resource.
///
/// Threading: any thread. Only ``reserve(_:)`` must stay outside of the fence-signalling path.
public final class TablePool: @unchecked Sendable {
    /// No page, in the lists.
    static var none: UInt32 { .max }

    /// The physical address of the first page.
    public let base: PhysicalAddress
    /// The number of pages.
    public let capacity: Int

    /// All tables, 512 entries each. A walker loads with acquire what the writer stored with release.
    let storage: UnsafeMutablePointer<Atomic<UInt64>>
    /// Each page's successor in the free list or in a list of retired tables.
    private let next: UnsafeMutablePointer<UInt32>
    /// Each table's number of valid entries; guarded by the owning page table's lock.
    let live: UnsafeMutablePointer<UInt16>

    private let lock = Lock(.tablePool)
    private var freeHead = TablePool.none
    /// Pages from here on were never used: they need no list, and their memory stays untouched.
    private var untouched: UInt32 = 0
    private var allocatedCount = 0
    private var reservedCount = 0

    /// Makes a pool of `pageCount` pages (1…2^31) of `memory`, beginning at `base`.
    ///
    /// The pool does not hold `memory`, which may hold the pool; the host memory behind the pages
    /// must stay where it is for as long as the pool lives.
    /// - Throws: ``PageTableError/invalidPool(base:pageCount:)`` or
    ///   ``PageTableError/poolNotContiguous(base:bytes:contiguousBytes:)``.
    public init(
        memory: some PhysicalMemory, base: PhysicalAddress, pageCount: Int
    ) throws(PageTableError) {
        let (bytes, overflow) = UInt64(max(pageCount, 0)).multipliedReportingOverflow(by: frameSize)
        guard base % frameSize == 0, pageCount > 0, pageCount <= 1 << 31, !overflow,
            !base.addingReportingOverflow(bytes).overflow
        else { throw .invalidPool(base: base, pageCount: pageCount) }
        let host = memory.resolve(base, limit: bytes)
        guard let host, host.bytes >= bytes else {
            throw .poolNotContiguous(base: base, bytes: bytes, contiguousBytes: host?.bytes ?? 0)
        }
        self.base = base
        capacity = pageCount
        // The memory is the pool's alone and is reached through these atomics only.
        storage = host.pointer.bindMemory(to: Atomic<UInt64>.self, capacity: pageCount * 512)
        next = .allocate(capacity: pageCount)
        live = .allocate(capacity: pageCount)
    }

    deinit {
        next.deallocate()
        live.deallocate()
    }

    /// The number of pages that are tables, linked or retired.
    public var allocated: Int { lock.withLock { allocatedCount } }

    /// The number of pages that are promised to jobs and to large leaves.
    public var reserved: Int { lock.withLock { reservedCount } }

    /// The number of pages that can still be promised.
    public var available: Int { lock.withLock { capacity - allocatedCount - reservedCount } }

    /// Promises `count` tables (0 or more), or none.
    ///
    /// Complexity: O(1); allocates nothing.
    /// - Throws: ``PageTableError/outOfTables(requested:available:)``.
    public func reserve(_ count: Int) throws(PageTableError) -> TableReservation {
        try promise(count)
        return TableReservation(pool: self, count: count)
    }

    /// As ``reserve(_:)``; the promise is a reservation's that there is already.
    func promise(_ count: Int) throws(PageTableError) {
        SignallingSection.assertOutside("reservation of page tables")
        precondition(count >= 0, "a negative number of tables")
        lock.lock()
        defer { lock.unlock() }
        let available = capacity - allocatedCount - reservedCount
        guard count <= available else {
            throw .outOfTables(requested: count, available: available)
        }
        reservedCount += count
    }

    /// A reservation of nothing, to add others to.
    public func emptyReservation() -> TableReservation { TableReservation(pool: self, count: 0) }

    /// Makes retired tables available again and empties the list.
    ///
    /// To be called when every MMU has acknowledged the invalidation of what they mapped.
    /// Complexity: O(1).
    public func release(_ tables: inout RetiredTables) {
        guard !tables.isEmpty else { return }
        lock.withLock {
            next[Int(tables.tail)] = freeHead
            freeHead = tables.head
            allocatedCount -= tables.count
        }
        tables.head = TablePool.none
        tables.tail = TablePool.none
        tables.count = 0
    }

    /// Gives promises back.
    func unreserve(_ count: Int) {
        guard count != 0 else { return }
        lock.withLock {
            reservedCount -= count
            assert(reservedCount >= 0, "more tables given back than were promised")
        }
    }

    /// Turns one promise into a table of invalid entries.
    func take() -> UInt32 {
        let table = lock.withLock {
            precondition(reservedCount > 0, "a table was taken without a reservation")
            reservedCount -= 1
            allocatedCount += 1
            if freeHead == TablePool.none {
                untouched += 1
                return untouched - 1
            }
            let table = freeHead
            freeHead = next[Int(table)]
            return table
        }
        // Nobody else sees the page: whoever walked it before has acknowledged under its MMU's lock.
        memset(entries(table), 0, Int(frameSize))
        live[Int(table)] = 0
        return table
    }

    /// Adds an unlinked table to a list; its content stays as it is.
    @inline(__always)
    func retire(_ table: UInt32, to list: inout RetiredTables) {
        next[Int(table)] = list.head
        if list.isEmpty { list.tail = table }
        list.head = table
        list.count += 1
    }

    /// The entries of a table.
    @inline(__always)
    func entries(_ table: UInt32) -> UnsafeMutablePointer<Atomic<UInt64>> {
        storage + Int(table) &* 512
    }

    /// The physical address of a table.
    @inline(__always)
    func address(_ table: UInt32) -> PhysicalAddress { base &+ UInt64(table) &<< frameShift }

    /// The table at a physical address; nil for an address that is none of the pool's.
    @inline(__always)
    func table(at address: PhysicalAddress) -> UInt32? {
        let page = (address &- base) &>> frameShift
        return page < UInt64(capacity) ? UInt32(truncatingIfNeeded: page) : nil
    }
}
