// @unchecked: `next`, `previous` and `isQueued` are guarded by the lock of the fence it is on.
/// A node in a fence's callback list, allocated by who adds it so that signalling allocates nothing.
///
/// A callback runs once, on the thread that signals, inside a ``SignallingSection`` and with no
/// fence lock held. One node can wait on one fence at a time; once it ran or was removed it may be
/// added again.
///
/// Threading: the links belong to the fence's lock while the node is on a list.
open class FenceCallback: @unchecked Sendable {
    final var next: FenceCallback?
    final unowned(unsafe) var previous: FenceCallback?
    final var isQueued = false

    /// Creates a node that is on no list.
    public init() {}

    /// Called once when the fence signals.
    open func fenceSignalled(_ fence: Fence) {}
}
