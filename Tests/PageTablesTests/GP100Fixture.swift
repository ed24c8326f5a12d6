import Fencing
import PageTables
import Testing

/// A page table of GP100's format with the reservations, retirements and signalling sections of a bind
/// job around it.
final class GP100Fixture {
    let pool: TablePool
    let table: GP100PageTable
    /// Called with each changed range before the retired tables are released.
    var invalidate: (UInt64, UInt64) -> Void = { _, _ in }

    /// The pool is at 4 GiB, which is where video memory begins unless said otherwise.
    init(pages: Int, vramBase: PhysicalAddress = 4 * giB) throws {
        pool = try makePool(pages: pages)
        table = try GP100PageTable(pool: pool, vramBase: vramBase)
    }

    func map(
        _ address: UInt64, _ extents: [PhysicalExtent], _ flags: PTEFlags = [], kind: UInt8 = 0
    ) throws {
        let range = extents.reduce(0) { $0 + $1.bytes }
        var reservation = try pool.reserve(
            GP100PageTable.tablesNeeded(address: address, range: range))
        var retired = RetiredTables()
        SignallingSection.run {
            table.map(
                address, extents: extents, flags: flags, kind: kind, using: &reservation,
                retiring: &retired)
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

    func mapNull(_ address: UInt64, bytes: UInt64) throws {
        var reservation = try pool.reserve(
            GP100PageTable.tablesNeeded(address: address, range: bytes))
        var retired = RetiredTables()
        SignallingSection.run {
            table.mapNull(address, range: bytes, using: &reservation, retiring: &retired)
            invalidate(address, bytes)
            pool.release(&retired)
        }
    }

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
        #expect(table.heldPages == audit.tables + audit.neededReserve, "\(context())")
        var tables = 0
        table.forEachTable { _, _, _ in tables += 1 }
        #expect(tables == audit.tables, "\(context())")
    }
}
