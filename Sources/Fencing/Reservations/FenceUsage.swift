/// What a fence on a ``Reservation`` stands for; a smaller value binds more waiters.
///
/// Asking for a usage yields the fences of that usage and of every smaller one.
///
/// Source: `enum dma_resv_usage` (include/linux/dma-resv.h).
public enum FenceUsage: UInt8, Sendable, Comparable, CaseIterable {
    /// Memory management (moves, clears): everybody must wait for it.
    case kernel = 0
    /// Implicitly synchronised writes.
    case write = 1
    /// Implicitly synchronised reads.
    case read = 2
    /// Work without implicit synchronisation: only memory management waits for it.
    case bookkeep = 3

    /// The order of the raw values.
    public static func < (a: FenceUsage, b: FenceUsage) -> Bool { a.rawValue < b.rawValue }
}
