/// Something that an MMU can look addresses up in: a page table of some format.
///
/// Threading: any thread, concurrently with the table's writer, under the MMU's lock: the tables
/// that a look-up reads are not used again before that MMU has acknowledged an invalidation.
public protocol PageWalker: AnyObject, Sendable {
    /// The physical address of the root table.
    var rootAddress: PhysicalAddress { get }
    /// The number of bits of a virtual address.
    var addressBits: Int { get }
    /// Walks the tables for one address.
    ///
    /// Complexity: one load for each level; takes no lock and allocates nothing.
    func lookUp(_ address: UInt64) -> PageLookup
}
