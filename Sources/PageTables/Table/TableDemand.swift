/// The demand of a page table whose format is known at compile time; see ``PageTableDemand``.
public struct TableDemand<Format: PageTableFormat> {
    private var demand = PageTableDemand(FormattedPageTable<Format>.self)

    /// Demands nothing.
    public init() {}

    /// Takes note of an operation that removes or splits mappings; see
    /// ``PageTableDemand/addRemoval()``.
    public mutating func addRemoval() { demand.addRemoval() }

    /// How many tables more a map needs; see ``PageTableDemand/addMap(address:range:)``.
    public mutating func addMap(address: UInt64, range: UInt64) -> Int {
        demand.addMap(address: address, range: range)
    }
}
