/// One leaf of a page table: a naturally aligned run of addresses with one translation.
public struct PageTableLeaf: Equatable, Sendable {
    /// The first virtual address.
    public var address: UInt64
    /// The first physical address; 0 for a null leaf.
    public var physical: PhysicalAddress
    /// The leaf maps `1 << sizeShift` bytes: 12, 16, 21 or 30 in the generic format; 12, 16 or 21 (null
    /// also 29, 38 or 47) in ``GP100Format``.
    public var sizeShift: UInt8
    /// Whether reads give zero and writes are dropped.
    public var isNull: Bool
    /// What the leaf allows.
    public var flags: PTEFlags
    /// How the memory's content is laid out (`KIND` of ``GP100PTE``); 0 is linear, and all that a format
    /// without kinds has.
    public var kind: UInt8

    /// The number of bytes mapped.
    @inlinable
    public var bytes: UInt64 { 1 &<< UInt64(sizeShift) }

    /// Describes a leaf.
    @inlinable
    public init(
        address: UInt64, physical: PhysicalAddress, sizeShift: UInt8, isNull: Bool, flags: PTEFlags,
        kind: UInt8 = 0
    ) {
        self.address = address
        self.physical = physical
        self.sizeShift = sizeShift
        self.isNull = isNull
        self.flags = flags
        self.kind = kind
    }
}
