// @unchecked: every variable is guarded by `lock`.
/// A container for a fence, or for a timeline of them, that clients wait on and signal.
///
/// Source: drivers/gpu/drm/drm_syncobj.c; point 0 means the object as a binary one everywhere. The
/// object is empty (reset), holds one fence, or holds the last node of a ``FenceChain``.
///
/// Threading: any thread, also inside a ``SignallingSection``. No method blocks.
public final class Syncobj: @unchecked Sendable {
    private let lock = Lock(.syncobj)
    private var head: Fence?
    private var waiters = SyncobjWaiterList()
    private var mirrors: [FenceSlotWriter] = []
    private var headWatch: HeadWatch?

    /// Creates an object, empty or (DRM_SYNCOBJ_CREATE_SIGNALED) holding a signalled fence.
    public init(signalled: Bool = false) {
        if signalled { head = Fence.makeSignalled() }
    }

    deinit {
        waiters.removeAll()
        stopWatching()
    }

    // MARK: Changing

    /// Puts `fence` in the place of whatever the object holds; nil empties it.
    public func replaceFence(_ fence: Fence?) {
        var available = AvailableWaiters()
        lock.lock()
        let old = head
        if old !== fence {
            stopWatching()
            head = fence
            startWatching()
            takeAvailable(&available)
            rewriteMirrors(replaced: true, clean: old?.isSignalled ?? true)
        }
        lock.unlock()
        available.tell()
        withExtendedLifetime(old) {}
    }

    /// Adds a point to the timeline (drm_syncobj_add_point).
    ///
    /// A point that is not above the last one is added all the same, as the kernel does: it opens a
    /// new context with the last point's number and the timeline reads 0 until it signals.
    ///
    /// - Parameters:
    ///   - node: Made before anything was published, and used once; so this cannot fail.
    ///   - fence: What the point stands for.
    ///   - point: Its number.
    public func addPoint(_ node: FenceChain, fence: Fence, point: UInt64) {
        var available = AvailableWaiters()
        lock.lock()
        let old = head
        let joined = node.link(after: old, fence: fence, point: point)
        if !joined { stopWatching() }
        head = node
        if !joined { startWatching() }
        takeAvailable(&available)
        rewriteMirrors(replaced: !joined, clean: old?.isSignalled ?? true)
        lock.unlock()
        node.arm()
        available.tell()
        withExtendedLifetime(old) {}
    }

    /// Signals from the host: the object holds a signalled fence of its own afterwards.
    public func signal() {
        replaceFence(Fence.makeSignalled())
    }

    /// Signals a timeline point from the host; it counts once all earlier points have signalled.
    public func signal(point: UInt64, node: FenceChain = FenceChain()) {
        addPoint(node, fence: Fence.signalled, point: point)
    }

    /// Empties the object; waits that found its fence before go on with that fence.
    public func reset() {
        replaceFence(nil)
    }

    /// Has `destination` hold what signals at a point of `source` (DRM_IOCTL_SYNCOBJ_TRANSFER).
    ///
    /// - Parameters:
    ///   - sourcePoint: 0 takes the fence of a binary object (of a timeline: its last point).
    ///   - destinationPoint: 0 replaces the fence; otherwise the point is added.
    ///   - node: For a destination point.
    /// - Throws: ``FencingError/notSubmitted(point:)`` if the source has no fence there. A caller that
    ///   wants to wait for one waits with ``SyncobjWait/Flags/available`` first.
    public static func transfer(
        from source: Syncobj, point sourcePoint: UInt64, to destination: Syncobj,
        point destinationPoint: UInt64, node: FenceChain = FenceChain()
    ) throws(FencingError) {
        let fence = try source.findFence(point: sourcePoint)
        if destinationPoint == 0 {
            destination.replaceFence(fence)
        } else {
            destination.addPoint(node, fence: fence, point: destinationPoint)
        }
    }

    // MARK: Looking

    /// The fence that signals with `point` (drm_syncobj_find_fence).
    ///
    /// A point that has signalled, with all before it, gives a signalled fence.
    /// - Throws: ``FencingError/notSubmitted(point:)`` if the object is empty, the point is above the
    ///   last submitted one, or a point is asked of an object that holds no timeline.
    public func findFence(point: UInt64 = 0) throws(FencingError) -> Fence {
        switch lookUp(point) {
        case .missing: throw .notSubmitted(point: point)
        case .signalled: return Fence.signalled
        case .pending(let fence): return fence
        }
    }

    /// The last point that has signalled, or the last that was submitted; 0 for a binary object.
    ///
    /// Source: DRM_IOCTL_SYNCOBJ_QUERY. Where the kernel, after unordered points, can report a point
    /// that still waits for an older timeline, this reports the point before it.
    public func query(lastSubmitted: Bool = false) -> UInt64 {
        settle()
        return lock.withLock {
            guard let head, head.isChain else { return 0 }
            let chain = unsafeDowncast(head, to: FenceChain.self)
            return lastSubmitted ? chain.sequenceNumber : chain.progress
        }
    }

    /// What the object has for `point`; `.pending` also for a fence that has signalled meanwhile.
    func lookUp(_ point: UInt64) -> FenceChain.PointState {
        let current = lock.withLock { head }
        return Self.find(point, in: current)
    }

    private static func find(_ point: UInt64, in fence: Fence?) -> FenceChain.PointState {
        guard let fence else { return .missing }
        if point == 0 { return .pending(fence) }
        return fence.isChain
            ? unsafeDowncast(fence, to: FenceChain.self).find(point: point) : .missing
    }

    // MARK: Waiters

    /// Lists `waiter` unless its point has a fence: then it is not listed and the state returned.
    func listUnlessAvailable(_ waiter: SyncobjWaiter) -> FenceChain.PointState? {
        lock.withLock {
            let state = Self.find(waiter.point, in: head)
            guard case .missing = state else { return state }
            waiters.append(waiter)
            return nil
        }
    }

    /// Takes `waiter` off the list; false if its point became available first.
    @discardableResult
    func unlist(_ waiter: SyncobjWaiter) -> Bool {
        lock.withLock { waiters.remove(waiter) }
    }

    /// Takes off those whose point has a fence now; under the lock.
    private func takeAvailable(_ available: inout AvailableWaiters) {
        var next = waiters.first
        while let waiter = next {
            next = waiter.nextWaiter
            let state = Self.find(waiter.point, in: head)
            if case .missing = state { continue }
            _ = waiters.remove(waiter)
            available.append(waiter, state)
        }
    }

    // MARK: Fence pages

    func addMirror(_ slot: FenceSlotWriter) {
        lock.withLock {
            mirrors.append(slot)
            if mirrors.count == 1 { startWatching() }
            let state = mirroredState
            slot.write(state, replaced: true, clean: false)
        }
    }

    func removeMirror(_ slot: FenceSlotWriter) {
        lock.withLock {
            guard let index = mirrors.firstIndex(of: slot) else { return }
            if mirrors.count == 1 { stopWatching() }
            mirrors.remove(at: index)
        }
    }

    /// Counts what has signalled and brings the fence pages up to date: before anybody is told of a
    /// fence by another way. O(pending points).
    func settle() {
        let advanced: ChainTimeline? = lock.withLock {
            var timeline: ChainTimeline?
            if let head, head.isChain {
                let chain = unsafeDowncast(head, to: FenceChain.self)
                if chain.settle() { timeline = chain.timeline }
            }
            rewriteMirrors(replaced: false, clean: true)
            return timeline
        }
        advanced?.notify()
    }

    /// Brings the fence pages up to date with the timeline's progress.
    func refreshMirrors() {
        lock.withLock { rewriteMirrors(replaced: false, clean: true) }
    }

    private func rewriteMirrors(replaced: Bool, clean: Bool) {
        guard !mirrors.isEmpty else { return }
        let state = mirroredState
        for slot in mirrors { slot.write(state, replaced: replaced, clean: clean) }
    }

    private var mirroredState: FenceSlotState {
        guard let head else { return FenceSlotState() }
        if head.isChain && head.sequenceNumber > 0 {
            let chain = unsafeDowncast(head, to: FenceChain.self)
            return FenceSlotState(
                value: chain.progress, submitted: chain.sequenceNumber,
                status: chain.timeline?.lastError ?? 0, isTimeline: true)
        }
        // A chain of point 0 is all that a binary object can be.
        return FenceSlotState(
            value: head.isSignalled ? 1 : 0, submitted: 1, status: head.error, isTimeline: false)
    }

    /// Listens to the head's progress for the mirrors; under the lock.
    private func startWatching() {
        guard let head, !mirrors.isEmpty else { return }
        if head.isChain {
            unsafeDowncast(head, to: FenceChain.self).timeline?.addObserver(self)
        } else if !head.isSignalled {
            let watch = HeadWatch(self)
            if head.addCallback(watch, first: true) { headWatch = watch }
        }
    }

    private func stopWatching() {
        guard let head, !mirrors.isEmpty else { return }
        if head.isChain {
            unsafeDowncast(head, to: FenceChain.self).timeline?.removeObserver(self)
        } else if let watch = headWatch {
            _ = head.removeCallback(watch)
            headWatch = nil
        }
    }
}

extension Fence {
    /// One fence that has always been signalled, shared by all who need such.
    static let signalled = Fence.makeSignalled()
}

// @unchecked: `syncobj` is set once; a weak load is atomic.
/// Tells a sync object's fence pages that its binary fence has signalled.
private final class HeadWatch: FenceCallback, @unchecked Sendable {
    private weak var syncobj: Syncobj?

    init(_ syncobj: Syncobj) {
        self.syncobj = syncobj
    }

    override func fenceSignalled(_ fence: Fence) {
        syncobj?.refreshMirrors()
    }
}
