import CPlatform

// @unchecked: the links and `found` are guarded by the lock of the sync object it is listed at; once
// taken off to be told, they are the telling thread's.
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

    /// Called once, without locks, when the point has got a fence after the node was listed: soon
    /// after, but not before a waiter that is being told on this thread is through.
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

/// Waiters whose point has got a fence: taken off a list under its lock, told without it.
struct AvailableWaiters: ~Copyable {
    private var first: SyncobjWaiter?
    private unowned(unsafe) var last: SyncobjWaiter?

    /// Adds a waiter that is on no list.
    mutating func append(_ waiter: SyncobjWaiter, _ state: FenceChain.PointState) {
        waiter.found = state
        if let last { last.nextWaiter = waiter } else { first = waiter }
        last = waiter
    }

    /// Tells them in their order; called without locks.
    ///
    /// What is told may change another sync object, whose waiters change a third one, as long as
    /// clients like (SYNCOBJ_TRANSFER with WAIT_FOR_SUBMIT). So a change made by a waiter that is
    /// being told appends to the thread's queue, and its own waiters have their turn later.
    consuming func tell() {
        guard let first, let last else { return }
        let thread = gpuvm_thread_state()!
        if let end = thread.pointee.available_last {
            Unmanaged<SyncobjWaiter>.fromOpaque(end).takeUnretainedValue().nextWaiter = first
        } else {
            thread.pointee.available_first = Unmanaged.passRetained(first).toOpaque()
        }
        thread.pointee.available_last = Unmanaged.passUnretained(last).toOpaque()
        if thread.pointee.available_draining != 0 { return }
        thread.pointee.available_draining = 1
        while let entry = thread.pointee.available_first {
            let waiter = Unmanaged<SyncobjWaiter>.fromOpaque(entry).takeRetainedValue()
            let next = exchange(&waiter.nextWaiter, with: nil)
            thread.pointee.available_first = next.map { Unmanaged.passRetained($0).toOpaque() }
            if next == nil { thread.pointee.available_last = nil }
            waiter.becameAvailable(exchange(&waiter.found, with: .missing))
        }
        thread.pointee.available_draining = 0
    }
}
