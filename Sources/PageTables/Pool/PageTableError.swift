import Glibc

/// Why a page table or its pool refused something.
///
/// Nothing on the fence-signalling path throws: these come at submission or at start-up.
public enum PageTableError: Error, Equatable, Sendable {
    /// The pool cannot promise that many tables more: ENOSPC.
    case outOfTables(requested: Int, available: Int)
    /// The pool's frames have no owner, or are not one contiguous run of host memory.
    case poolNotContiguous(base: PhysicalAddress, bytes: UInt64, contiguousBytes: UInt64)
    /// The pool's base is not aligned to a frame, or its number of pages is not in 1…2^31.
    case invalidPool(base: PhysicalAddress, pageCount: Int)
    /// The format's entries cannot name all of the pool's pages.
    case poolOutOfReach(base: PhysicalAddress, pageCount: Int)
}

extension PageTableError {
    /// The positive errno that a kernel driver would answer: ENOSPC for an over-committed resource.
    public var errno: Int32 {
        switch self {
        case .outOfTables: ENOSPC
        case .poolNotContiguous, .invalidPool, .poolOutOfReach: EINVAL
        }
    }
}

extension PageTableError: CustomStringConvertible {
    /// What, how much, and what to do.
    public var description: String {
        switch self {
        case .outOfTables(let requested, let available):
            """
            \(requested) page-table pages are needed and \(available) can be promised: unmap \
            something, or give the device more page-table memory
            """
        case .poolNotContiguous(let base, let bytes, let contiguousBytes):
            "of \(bytes) bytes at \(base), \(contiguousBytes) are contiguous host memory"
        case .invalidPool(let base, let pageCount):
            "\(pageCount) page-table pages at \(base)"
        case .poolOutOfReach(let base, let pageCount):
            """
            the page-table format cannot name \(pageCount) pages at \(base): give the device less \
            memory
            """
        }
    }
}
