import Synchronization

// @unchecked: the list and the result are guarded by `lock`; `state` is atomic.
/// A point in the future of some queue: it signals once, with success or an error, and stays so.
///
/// Source: `struct dma_fence` (include/linux/dma-fence.h). A fence is published only when nothing
/// on its way to the signal can fail or allocate (see ``SignallingSection``).
///
/// Threading: every method may be called from any thread. ``isSignalled`` is one acquire load:
/// what the signaller wrote before ``signal(error:at:)`` is visible to who sees true.
open class Fence: @unchecked Sendable {
    /// The context that the fence belongs to; set for good before the fence is published.
    public internal(set) final var context: UInt64
    /// The position in the context; later fences have larger numbers. Set with ``context``.
    public internal(set) final var sequenceNumber: UInt64
    /// Whether this is a ``FenceChain``, without the cost of a dynamic cast.
    final let isChain: Bool

    private final let state = Atomic<UInt8>(0)
    /// Guards the callback list and the result; subclasses in this module use it for their links.
    final let lock = Lock(.fence)
    private final var firstCallback: FenceCallback?
    private final var lastCallback: FenceCallback?
    private final var result: (error: Int32, timestamp: UInt64) = (0, 0)
    /// A chain node with callbacks keeps itself: nobody else holds a node that is to be signalled.
    private final var keepAlive: Fence?

    /// Creates an unsignalled fence.
    public init(context: UInt64, sequenceNumber: UInt64) {
        self.context = context
        self.sequenceNumber = sequenceNumber
        isChain = false
    }

    /// Creates a node of a chain, which gets its context and number when it is linked.
    init(chainNode: Void) {
        context = 0
        sequenceNumber = 0
        isChain = true
    }

    deinit {
        // One by one: releasing the head of a long list would recurse to its end.
        while let callback = firstCallback {
            firstCallback = callback.next
            callback.next = nil
            callback.previous = nil
            callback.isQueued = false
        }
    }

    /// A fence that has signalled already (the kernel's `dma_fence_get_stub`).
    public static func makeSignalled() -> Fence {
        let fence = Fence(context: 0, sequenceNumber: 0)
        fence.signal()
        return fence
    }

    /// Whether the fence has signalled, with or without an error.
    public final var isSignalled: Bool { state.load(ordering: .acquiring) != 0 }

    /// The errno the fence signalled with; 0 for success or while it has not signalled.
    public final var error: Int32 { isSignalled ? result.error : 0 }

    /// When the fence signalled, CLOCK_MONOTONIC ns; 0 while it has not.
    public final var timestamp: UInt64 { isSignalled ? result.timestamp : 0 }

    /// Signals the fence and runs its callbacks on the calling thread, in the order of their adding.
    ///
    /// - Parameters:
    ///   - error: A positive errno, or 0 for success.
    ///   - time: CLOCK_MONOTONIC ns; now if nil.
    /// - Returns: False if it had signalled before; the first result stays.
    @discardableResult
    public final func signal(error: Int32 = 0, at time: UInt64? = nil) -> Bool {
        let timestamp = time ?? Runtime.now()
        lock.lock()
        if state.load(ordering: .relaxed) != 0 {
            lock.unlock()
            return false
        }
        result = (error, timestamp)
        state.store(1, ordering: .releasing)
        var callback = firstCallback
        firstCallback = nil
        lastCallback = nil
        let kept = keepAlive
        keepAlive = nil
        // Detached nodes are this thread's until it marks them free again.
        lock.unlock()
        defer { withExtendedLifetime(kept) {} }
        SignallingSection.run {
            if isChain { unsafeDowncast(self, to: FenceChain.self).progressed() }
            while let current = callback {
                lock.lock()
                callback = current.next
                current.next = nil
                current.previous = nil
                current.isQueued = false
                lock.unlock()
                current.fenceSignalled(self)
            }
        }
        return true
    }

    /// Has `callback` called when the fence signals.
    ///
    /// The fence must be kept by somebody until then: by its signaller, usually. A ``FenceChain``
    /// keeps itself while it has callbacks.
    ///
    /// - Returns: False, and the callback is not kept, if the fence has signalled already.
    public final func addCallback(_ callback: FenceCallback) -> Bool {
        addCallback(callback, first: false)
    }

    /// As ``addCallback(_:)``; `first` puts it before all others (a fence page is written before
    /// anybody is told).
    final func addCallback(_ callback: FenceCallback, first: Bool) -> Bool {
        lock.withLock {
            guard state.load(ordering: .relaxed) == 0 else { return false }
            precondition(!callback.isQueued, "a callback waits on one fence at a time")
            callback.isQueued = true
            if isChain && firstCallback == nil { keepAlive = self }
            if first {
                callback.previous = nil
                callback.next = firstCallback
                if let head = firstCallback {
                    head.previous = callback
                } else {
                    lastCallback = callback
                }
                firstCallback = callback
            } else {
                callback.previous = lastCallback
                callback.next = nil
                if let last = lastCallback {
                    last.next = callback
                } else {
                    firstCallback = callback
                }
                lastCallback = callback
            }
            return true
        }
    }

    /// Takes `callback` off the list.
    ///
    /// - Returns: True if it was there and will not be called; false if it ran, runs or was never
    ///   added.
    public final func removeCallback(_ callback: FenceCallback) -> Bool {
        // Let go of after the lock: it may be the last reference to this fence.
        var kept: Fence?
        defer { withExtendedLifetime(kept) {} }
        return lock.withLock {
            guard state.load(ordering: .relaxed) == 0, callback.isQueued else { return false }
            if let previous = callback.previous {
                previous.next = callback.next
            } else {
                firstCallback = callback.next
            }
            if let next = callback.next {
                next.previous = callback.previous
            } else {
                lastCallback = callback.previous
            }
            callback.next = nil
            callback.previous = nil
            callback.isQueued = false
            if firstCallback == nil { swap(&kept, &keepAlive) }
            return true
        }
    }

    /// Blocks the calling thread until the fence signals.
    ///
    /// For tests, tear-down and tools: no thread of a daemon's data path waits for a fence.
    ///
    /// - Parameter deadline: Absolute CLOCK_MONOTONIC ns; nil waits for ever.
    /// - Returns: False when the deadline passed first.
    public final func wait(deadline: UInt64? = nil) -> Bool {
        SignallingSection.assertOutside("a wait for a fence")
        if isSignalled { return true }
        let waiter = FenceWaiter()
        guard addCallback(waiter) else { return true }
        if waiter.wait(deadline: deadline) { return true }
        // Whoever loses this race finds the fence signalled.
        return !removeCallback(waiter)
    }
}
