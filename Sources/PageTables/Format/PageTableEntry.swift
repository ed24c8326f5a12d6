/// A page-table entry, decoded.
public enum PageTableEntry: Equatable, Sendable {
    /// Maps nothing.
    case invalid
    /// Points to the table of the next level down.
    case table(PhysicalAddress)
    /// Maps memory; `contiguous` says that its aligned group of entries is one larger leaf.
    case memory(PhysicalAddress, PTEFlags, contiguous: Bool)
    /// Maps nothing in particular: reads give zero and writes are dropped (a sparse mapping).
    case null(PTEFlags, contiguous: Bool)
    /// A bit pattern that the format does not allow at that level: the table is corrupt.
    case malformed
}
