import PageTables

/// One range of a page table that a bind job rewrites.
///
/// Only what the request covers changes: the pieces of a split mapping that stay keep their entries.
enum PageTableUpdate {
    /// Map the frames `extents` of the job's extent list, with a PTE kind.
    case map(address: UInt64, extents: Range<Int>, flags: PTEFlags, kind: UInt8)
    /// Map nothing: reads zero, drops writes.
    case mapNull(address: UInt64, range: UInt64, flags: PTEFlags)
    /// As ``mapNull(address:range:flags:)``, of a part of the job's sparse region `region`. If it is not
    /// paid for, memory is there, or what it left when it was taken away, and brings what that takes.
    case showSparse(address: UInt64, range: UInt64, region: Int, isPaid: Bool)
    /// Clear whatever is there, and hold what memory will take.
    case hold(address: UInt64, range: UInt64)
    /// Clear whatever is there.
    case unmap(address: UInt64, range: UInt64)
}
