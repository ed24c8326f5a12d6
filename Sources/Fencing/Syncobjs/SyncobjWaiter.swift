// @unchecked: the links and `found` are guarded by the lock of the sync object it is listed at.
/// A node that waits at a ``Syncobj`` until its point has a fence, and then at that fence.
///
/// Source: `struct syncobj_wait_entry` (drivers/gpu/drm/drm_syncobj.c).
class SyncobjWaiter: FenceCallback, @unchecked Sendable {
    final let point: UInt64
    final var nextWaiter: SyncobjWaiter?
    final unowned(unsafe) var previousWaiter: SyncobjWaiter?
    final var isListed = false
    /// What was found when the node left the list.
    final var found = FenceChain.PointState.missing

    init(point: UInt64) {
        self.point = point
    }

    /// Called once, without locks, when the point has got a fence after the node was listed.
    func becameAvailable(_ state: FenceChain.PointState) {}
}

/// The intrusive list of a ``Syncobj``'s waiters, in the order of their coming.
///
/// Threading: guarded by the sync object's lock.
struct SyncobjWaiterList: ~Copyable {
    private(set) var first: SyncobjWaiter?
    private unowned(unsafe) var last: SyncobjWaiter?

    mutating func append(_ waiter: SyncobjWaiter) {
        waiter.isListed = true
        waiter.previousWaiter = last
        if let last { last.nextWaiter = waiter } else { first = waiter }
        last = waiter
    }

    /// Takes `waiter` off the list; false if it is not on it.
    mutating func remove(_ waiter: SyncobjWaiter) -> Bool {
        guard waiter.isListed else { return false }
        let next = waiter.nextWaiter
        let previous = waiter.previousWaiter
        if let next { next.previousWaiter = previous } else { last = previous }
        if let previous { previous.nextWaiter = next } else { first = next }
        waiter.nextWaiter = nil
        waiter.previousWaiter = nil
        waiter.isListed = false
        return true
    }

    /// Takes all off, one by one: a list released by its head would recurse to its end.
    mutating func removeAll() {
        while let waiter = first { _ = remove(waiter) }
    }
}
