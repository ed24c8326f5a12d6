import CPlatform
import Synchronization

// @unchecked: the links are written before publication, then guarded by the fence's lock.
/// A point of a timeline: a fence that signals when its own fence and all earlier points have.
///
/// Source: `struct dma_fence_chain` (drivers/dma-buf/dma-fence-chain.c). A node is made empty, so
/// that nothing can fail when ``Syncobj/addPoint(_:fence:point:)`` links it. Where the kernel looks
/// at a chain lazily, a node here signals by itself, which is what a fence page needs. It carries
/// the error of its own fence, not those of earlier points.
///
/// A signalled node lets go of everything before it. A node that is added behind points whose own
/// fences have signalled, but which wait for an earlier one, is linked to that earlier one, so that
/// a client cannot grow a chain by signalling points from the host.
///
/// Threading: any thread. A cascade of nodes is signalled in a loop, and a chain is released in a
/// loop: neither recurses, however long it is.
public final class FenceChain: Fence, @unchecked Sendable {
    /// The point before this one in the same context; 0 for the first of its context.
    public private(set) var previousPoint: UInt64 = 0

    private(set) var timeline: ChainTimeline?
    private var previous: Fence?
    private var fence: Fence?
    /// The own fence, all earlier ones, and the linking itself.
    private let pending = Atomic<UInt8>(3)
    private var hasSuccessor = false
    private let fenceArm = ChainArm()
    private let previousArm = ChainArm()
    /// A link in a thread's list of nodes to be signalled.
    private var nextReady: FenceChain?
    /// A link in a thread's list of nodes to be released. Not the same: a node on it may at the same
    /// moment be signalled by a thread that found it through a ``ChainArm``.
    private var nextDead: FenceChain?

    /// Allocates a node that is linked to nothing: done before anything is published.
    public init() {
        super.init(chainNode: ())
        fenceArm.watch(self, isPrevious: false)
        previousArm.watch(self, isPrevious: true)
    }

    deinit {
        guard previous != nil || fence != nil else { return }
        var dead: FenceChain?
        releaseLinks(&dead)
        while let node = dead {
            dead = node.nextDead
            node.nextDead = nil
            node.releaseLinks(&dead)
        }
    }

    // MARK: Linking

    /// Makes the node the successor of `head`; the caller holds the sync object's lock.
    ///
    /// Kernel rule (dma_fence_chain_init): behind a chain whose last point is lower it joins that
    /// context; otherwise it opens a new one, with a point no lower than the last.
    /// - Returns: Whether it joined the context of `head`.
    func link(after head: Fence?, fence own: Fence, point: UInt64) -> Bool {
        precondition(timeline == nil, "a chain node is linked once")
        fence = own
        guard let head, head.isChain else {
            previous = head
            open(ChainTimeline(), at: point)
            return false
        }
        let chain = unsafeDowncast(head, to: FenceChain.self)
        previous = chain.firstPending()
        // A second successor (the node was transferred to another object, which now goes its own
        // way) needs a context of its own, because a context is a line.
        guard point > chain.sequenceNumber else {
            open(ChainTimeline(), at: chain.sequenceNumber)
            return false
        }
        if let shared = chain.timeline, chain.claimSuccessor() {
            previousPoint = chain.sequenceNumber
            open(shared, at: point)
            return true
        }
        previousPoint = chain.progress
        let branch = ChainTimeline()
        _ = branch.advance(to: previousPoint, error: 0)
        open(branch, at: point)
        return false
    }

    private func open(_ timeline: ChainTimeline, at point: UInt64) {
        self.timeline = timeline
        context = timeline.context
        sequenceNumber = point
    }

    private func claimSuccessor() -> Bool {
        lock.withLock {
            defer { hasSuccessor = true }
            return !hasSuccessor
        }
    }

    /// This node, or the nearest before it whose own fence is pending; nil if all has signalled.
    private func firstPending() -> Fence? {
        var node = self
        while true {
            let (own, before) = node.lock.withLock { (node.fence, node.previous) }
            if node.isSignalled { return nil }
            if let own, !own.isSignalled { return node }
            guard let before else { return node }
            guard before.isChain else { return before.isSignalled ? nil : before }
            node = unsafeDowncast(before, to: FenceChain.self)
        }
    }

    /// Starts to watch what the node waits for; called once after linking, without any lock.
    func arm() {
        let (own, before) = lock.withLock { (fence, previous) }
        if own?.addCallback(fenceArm) != true { dependencySignalled(isPrevious: false) }
        #if MUTANTS
            if Mutant.isPlanted("syncobjSignalsEarly") {
                dependencySignalled(isPrevious: true)
                dependencyDone()
                return
            }
        #endif
        if before?.addCallback(previousArm) != true { dependencySignalled(isPrevious: true) }
        dependencyDone()
    }

    // MARK: Signalling

    fileprivate func dependencySignalled(isPrevious: Bool) {
        if isPrevious {
            // Points between were left out of the chain, so their progress is told from here.
            if previousPoint > 0, let timeline, timeline.advance(to: previousPoint, error: 0) {
                timeline.notify()
            }
            let dropped = lock.withLock { exchange(&previous, with: nil) }
            withExtendedLifetime(dropped) {}
        }
        dependencyDone()
    }

    private func dependencyDone() {
        guard pending.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 else { return }
        let thread = gpuvm_thread_state()!
        if thread.pointee.ready_draining != 0 {
            // A node above on this stack signals: append, it goes on when it is through.
            let entry = Unmanaged.passRetained(self).toOpaque()
            if let last = thread.pointee.ready_last {
                // The list holds one reference on each node, given up below.
                Unmanaged<FenceChain>.fromOpaque(last).takeUnretainedValue().nextReady = self
            } else {
                thread.pointee.ready_first = entry
            }
            thread.pointee.ready_last = entry
            return
        }
        thread.pointee.ready_draining = 1
        complete()
        while let first = thread.pointee.ready_first {
            let node = Unmanaged<FenceChain>.fromOpaque(first).takeRetainedValue()
            let next = exchange(&node.nextReady, with: nil)
            thread.pointee.ready_first = next.map { Unmanaged.passUnretained($0).toOpaque() }
            if next == nil { thread.pointee.ready_last = nil }
            node.complete()
        }
        thread.pointee.ready_draining = 0
    }

    private func complete() {
        let own = lock.withLock { exchange(&fence, with: nil) }
        let error = own?.error ?? 0
        _ = timeline?.advance(to: sequenceNumber, error: error)
        signal(error: error)
    }

    /// Called by ``Fence/signal(error:at:)`` between the change of state and the callbacks.
    func progressed() {
        timeline?.notify()
    }

    // MARK: Looking

    /// The signalled points of this node's context, up to its own.
    var progress: UInt64 { min(timeline?.signalledPoint ?? 0, sequenceNumber) }

    /// Counts what has signalled and whose callbacks have yet to run, as the kernel's lazy look at a
    /// chain does.
    ///
    /// Complexity: O(pending points).
    /// - Returns: Whether the progress rose: then the timeline's observers are to be told.
    func settle() -> Bool {
        guard let timeline else { return false }
        var node = self
        while !node.isSignalled {
            let (own, before) = node.lock.withLock { (node.fence, node.previous) }
            if let before, !before.isSignalled {
                guard before.isChain, before.context == context else { return false }
                node = unsafeDowncast(before, to: FenceChain.self)
                continue
            }
            let isDone = own.map(\.isSignalled) ?? true
            return timeline.advance(
                to: isDone ? node.sequenceNumber : node.previousPoint, error: 0)
        }
        return timeline.advance(to: node.sequenceNumber, error: 0)
    }

    /// The fence that signals with `point` (dma_fence_chain_find_seqno): `.signalled` if it has.
    ///
    /// Complexity: O(pending points).
    func find(point: UInt64) -> PointState {
        if sequenceNumber < point { return .missing }
        if progress >= point { return .signalled }
        var node = self
        while node.previousPoint >= point {
            guard let before = node.lock.withLock({ node.previous }) else { return .signalled }
            guard before.isChain, before.context == context else { return .pending(before) }
            node = unsafeDowncast(before, to: FenceChain.self)
        }
        return .pending(node)
    }

    enum PointState {
        case missing
        case signalled
        case pending(Fence)
    }

    /// What the node waits for itself: its fence and what comes before it, as far as they are pending.
    public var pendingLinks: [Fence] {
        let (before, own) = lock.withLock { (previous, fence) }
        return [before, own].compactMap { $0 }.filter { !$0.isSignalled }
    }

    // MARK: Release

    /// Lets go of both links; whoever dies of it is put on `dead` instead of being released here.
    private func releaseLinks(_ dead: inout FenceChain?) {
        // Under the lock: nobody else holds the node, but an arm may have just found it.
        var (before, own) = lock.withLock {
            (exchange(&previous, with: nil), exchange(&fence, with: nil))
        }
        _ = before?.removeCallback(previousArm)
        _ = own?.removeCallback(fenceArm)
        Self.bury(&before, &dead)
        Self.bury(&own, &dead)
    }

    private static func bury(_ link: inout Fence?, _ dead: inout FenceChain?) {
        guard link?.isChain == true, isKnownUniquelyReferenced(&link) else {
            link = nil
            return
        }
        let node = unsafeDowncast(link!, to: FenceChain.self)
        link = nil
        node.nextDead = dead
        dead = node
    }
}

// @unchecked: `node` is set before the arm is on a list; a weak load is atomic.
/// A chain node's ear at one of the two fences that it waits for.
///
/// It does not keep the node: a reset sync object's chain goes at once, whatever it waits for.
private final class ChainArm: FenceCallback, @unchecked Sendable {
    private weak var node: FenceChain?
    private var isPrevious = false

    func watch(_ node: FenceChain, isPrevious: Bool) {
        self.node = node
        self.isPrevious = isPrevious
    }

    override func fenceSignalled(_ fence: Fence) {
        node?.dependencySignalled(isPrevious: isPrevious)
    }
}
