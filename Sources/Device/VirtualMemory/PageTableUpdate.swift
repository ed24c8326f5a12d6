/// One range of a page table that a bind job rewrites.
///
/// Only what the request covers changes: the pieces of a split mapping that stay keep their entries.
enum PageTableUpdate {
    /// Map the frames `extents` of the job's extent list.
    case map(address: UInt64, extents: Range<Int>, readOnly: Bool)
    /// Map nothing: reads zero, drops writes.
    case mapNull(address: UInt64, range: UInt64, readOnly: Bool)
    /// Clear whatever is there.
    case unmap(address: UInt64, range: UInt64)
}
