import Synchronization

/// A sequence of fences that signal in the order of their sequence numbers: one for each queue.
///
/// Source: `dma_fence_context_alloc` (drivers/dma-buf/dma-fence.c).
///
/// Threading: any thread; numbers are handed out atomically, but only a caller that orders its
/// submissions under a lock gets the in-order promise.
public final class FenceContext: Sendable {
    private static let nextID = Atomic<UInt64>(1)

    /// Unique in the process; never 0.
    public let id: UInt64
    private let lastSequenceNumber = Atomic<UInt64>(0)

    /// Allocates a context with a new id.
    public init() {
        id = Self.nextID.add(1, ordering: .relaxed).oldValue
    }

    /// Creates the context's next fence, unsignalled.
    public func makeFence() -> Fence {
        Fence(
            context: id,
            sequenceNumber: lastSequenceNumber.add(1, ordering: .relaxed).newValue)
    }
}
