import Fencing
import PageTables
import Testing

let kiB: UInt64 = 1 << 10
let miB: UInt64 = 1 << 20
let giB: UInt64 = 1 << 30

/// A page table with the reservations, retirements and signalling sections of a bind job around it.
final class PageTableFixture<Table: PageTableWriting> {
    let pool: TablePool
    let table: Table
    /// Called with each changed range before the retired tables are released.
    var invalidate: (UInt64, UInt64) -> Void = { _, _ in }

    init(pool: TablePool, _ table: Table) {
        self.pool = pool
        self.table = table
    }

    func map(
        _ address: UInt64, _ extents: [PhysicalExtent], _ flags: PTEFlags = [], kind: UInt8 = 0
    ) throws {
        let range = extents.reduce(0) { $0 + $1.bytes }
        var reservation = try pool.reserve(Table.tablesNeeded(address: address, range: range))
        var retired = RetiredTables()
        SignallingSection.run {
            extents.withUnsafeBufferPointer {
                table.map(
                    address, extents: $0, flags: flags, kind: kind, using: &reservation,
                    retiring: &retired)
            }
            invalidate(address, range)
            pool.release(&retired)
        }
    }

    func map(
        _ address: UInt64, to physical: PhysicalAddress, bytes: UInt64, _ flags: PTEFlags = [],
        kind: UInt8 = 0
    ) throws {
        try map(address, [PhysicalExtent(address: physical, bytes: bytes)], flags, kind: kind)
    }

    func mapNull(_ address: UInt64, bytes: UInt64, _ flags: PTEFlags = []) throws {
        var reservation = try pool.reserve(Table.nullTablesNeeded(address: address, range: bytes))
        var retired = RetiredTables()
        SignallingSection.run {
            table.mapNull(
                address, range: bytes, flags: flags, using: &reservation, retiring: &retired)
            invalidate(address, bytes)
            pool.release(&retired)
        }
    }

    /// Unmaps memory and what reads zero, which may take tables.
    func unmapAnything(_ address: UInt64, bytes: UInt64) throws {
        var reservation = try pool.reserve(Table.unmapTablesNeeded(address: address, range: bytes))
        var retired = RetiredTables()
        SignallingSection.run {
            table.unmap(address, range: bytes, using: &reservation, retiring: &retired)
            invalidate(address, bytes)
            pool.release(&retired)
        }
    }

    /// Unmaps memory, for which the table has all that it takes.
    func unmap(_ address: UInt64, bytes: UInt64) {
        var retired = RetiredTables()
        SignallingSection.run {
            table.unmap(address, range: bytes, retiring: &retired)
            invalidate(address, bytes)
            pool.release(&retired)
        }
    }

    var leaves: [PageTableLeaf] {
        var leaves: [PageTableLeaf] = []
        table.forEachLeaf { leaves.append($0) }
        return leaves
    }

    /// The leaves' size shifts and how many of each there are, null or not.
    var sizes: [UInt8: Int] {
        leaves.reduce(into: [:]) { $0[$1.sizeShift, default: 0] += 1 }
    }

    /// The pool's books must be exactly what the table's bytes say, nothing being in flight.
    func checkAccounting(_ context: @autoclosure () -> String = "") {
        let audit = table.audit()
        #expect(audit.isSound, "\(audit) \(context())")
        #expect(pool.allocated == audit.tables, "\(context())")
        #expect(pool.reserved == audit.neededReserve, "\(context())")
        #expect(pool.allocated + pool.reserved <= pool.capacity, "\(context())")
        #expect(table.heldPages == audit.tables + audit.neededReserve, "\(context())")
        var tables = 0
        table.forEachTable { _, _, _ in tables += 1 }
        #expect(tables == audit.tables, "\(context())")
    }
}

typealias TableFixture = PageTableFixture<PageTable>
typealias GP100Fixture = PageTableFixture<GP100PageTable>

extension PageTableFixture where Table == PageTable {
    convenience init(pages: Int) throws {
        let pool = try makePool(pages: pages)
        self.init(pool: pool, try PageTable(pool: pool))
    }
}

extension PageTableFixture where Table == GP100PageTable {
    /// The pool is at 4 GiB, which is where video memory begins unless said otherwise.
    convenience init(pages: Int, vramBase: PhysicalAddress = 4 * giB) throws {
        let pool = try makePool(pages: pages)
        self.init(pool: pool, try GP100PageTable(pool: pool, vramBase: vramBase))
    }
}
