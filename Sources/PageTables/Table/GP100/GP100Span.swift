import Synchronization

/// A PDE0 as its writer left it: what one span of 2 MiB has.
struct GP100Span {
    /// The first word: a leaf of 2 MiB, or the big table.
    var low: UInt64
    /// The second word: the small table.
    var high: UInt64

    @inline(__always)
    init(_ words: UnsafeMutablePointer<Atomic<UInt64>>) {
        low = words[0].load(ordering: .relaxed)
        high = words[1].load(ordering: .relaxed)
    }

    var isEmpty: Bool { low | high == 0 }

    /// Whether it is one leaf, of memory, sparse or held.
    var isLeaf: Bool {
        low & GP100Format.valid != 0 || low == GP100Format.sparse || low == GP100Format.held
    }

    var hasBig: Bool {
        low & GP100Format.valid == 0 && low & GP100Format.apertureMask != 0
    }

    var hasSmall: Bool { high != 0 }

    /// How many tables it holds to split memory that is larger than a page, or was; what is sparse holds
    /// none.
    var reserve: Int { Self.leafReserve(low) &+ (hasBig && !hasSmall ? 1 : 0) }

    /// How many tables a leaf of 2 MiB holds.
    @inline(__always)
    static func leafReserve(_ leaf: UInt64) -> Int {
        leaf & GP100Format.valid != 0 || leaf == GP100Format.held ? 2 : 0
    }

    /// What neighbouring 4 KiB entries of the leaf differ by.
    static func step(_ leaf: UInt64) -> UInt64 {
        leaf & GP100Format.valid != 0 ? GP100Format.pageStep : 0
    }
}
