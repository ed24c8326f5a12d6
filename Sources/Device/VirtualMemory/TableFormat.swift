import Memory
import PageTables

/// In which hardware's format a VM's page tables are.
///
/// A personality says so when it makes a VM: the driver that it stands for runs a GPU of that kind, and
/// its PTE kinds exist in that GPU's entries only. The native protocol belongs to no hardware: its VMs
/// have the generic format, whose leaves of 1 GiB, read-only null entries and clients' own 48-bit
/// ranges NVIDIA's has no place for.
public enum TableFormat: Sendable, Equatable {
    /// ``Generic48Format``.
    case generic
    /// NVIDIA's of GP100 and later, ``GP100Format``.
    case gp100

    /// The class of its tables.
    var tableClass: any PageTableWriting.Type {
        switch self {
        case .generic: PageTable.self
        case .gp100: GP100PageTable.self
        }
    }

    /// Makes an empty table.
    ///
    /// - Throws: ``PageTableError``: no page is left, or the pool is where the format cannot name it.
    func makeTable(_ pool: TablePool) throws(PageTableError) -> any PageTableWriting {
        switch self {
        case .generic: try PageTable(pool: pool)
        case .gp100: try GP100PageTable(pool: pool, vramBase: PhysicalMemoryMap.vramBase)
        }
    }
}
