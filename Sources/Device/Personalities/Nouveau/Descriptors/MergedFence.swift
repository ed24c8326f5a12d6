import Fencing
import Glibc

// @unchecked: `arms` is written by the initialiser's caller before anybody else sees the fence.
/// A fence that signals when several have signalled, with the first error among them.
///
/// It keeps its parts alive; they do not keep it, so that merging what nobody waits for leaves nothing
/// behind. Source: drivers/dma-buf/dma-fence-array.c, dma-fence-unwrap.c.
final class MergedFence: Fence, @unchecked Sendable {
    /// The fences that it stands for, neither merged nor chains, in the order of their contexts.
    let parts: [Fence]
    private let pending: Guarded<(count: Int, error: Int32)>
    private var arms: [(fence: Fence, arm: MergeArm)] = []

    /// The most parts: more are refused for want of memory.
    static let maximumParts = 4096

    /// The pending fences that `fence` stands for, chains and merged ones taken apart; itself if none is
    /// pending. Nil if they are too many. O(pending links).
    ///
    /// Source: dma_fence_unwrap_for_each.
    static func parts(of fence: Fence) -> [Fence]? {
        // A list and not a recursion: a client can hang chains into chains.
        var waiting = [fence]
        var seen: Set<ObjectIdentifier> = []
        var parts: [Fence] = []
        while let next = waiting.popLast() {
            guard !next.isSignalled, seen.insert(ObjectIdentifier(next)).inserted else { continue }
            guard seen.count <= 4 * maximumParts, parts.count < maximumParts else { return nil }
            if let merged = next as? MergedFence {
                waiting += merged.parts
            } else if let chain = next as? FenceChain {
                waiting += chain.pendingLinks
            } else {
                parts.append(next)
            }
        }
        return parts.isEmpty ? [fence] : parts
    }

    /// What signals when all of `fences` have: one of them if that says all, otherwise a merged fence.
    ///
    /// Of fences of one context the last counts, as they signal in order.
    ///
    /// - Throws: ENOMEM for too many.
    static func merge(_ fences: [Fence]) throws(IoctlError) -> Fence {
        var newest: [UInt64: Fence] = [:]
        var signalledAt: UInt64?
        for fence in fences {
            guard let parts = parts(of: fence) else {
                throw IoctlError(ENOMEM, "the fence stands for more than \(maximumParts)")
            }
            for part in parts {
                if part.isSignalled {
                    signalledAt = max(signalledAt ?? 0, part.timestamp)
                } else if newest[part.context].map({ $0.sequenceNumber < part.sequenceNumber })
                    ?? true
                {
                    newest[part.context] = part
                }
            }
        }
        let parts = newest.values.sorted { $0.context < $1.context }
        if parts.count == 1 { return parts[0] }
        guard !parts.isEmpty else {
            let done = Fence(context: 0, sequenceNumber: 0)
            done.signal(at: signalledAt)
            return done
        }
        let merged = MergedFence(parts)
        merged.start()
        return merged
    }

    private init(_ parts: [Fence]) {
        self.parts = parts
        pending = Guarded(.mergedFence, (parts.count, 0))
        super.init(context: FenceContext().id, sequenceNumber: 1)
    }

    deinit {
        for (fence, arm) in arms { _ = fence.removeCallback(arm) }
    }

    private func start() {
        arms = parts.map { ($0, MergeArm(self)) }
        for (fence, arm) in arms where !fence.addCallback(arm) { partSignalled(fence) }
    }

    fileprivate func partSignalled(_ part: Fence) {
        let error = part.error
        let result: Int32? = pending.withLock { pending in
            pending.count -= 1
            if pending.error == 0 { pending.error = error }
            return pending.count == 0 ? pending.error : nil
        }
        if let result { signal(error: result) }
    }
}

// @unchecked: `merged` is never written after the initialiser; a weak load is atomic.
private final class MergeArm: FenceCallback, @unchecked Sendable {
    private weak var merged: MergedFence?

    init(_ merged: MergedFence) { self.merged = merged }

    override func fenceSignalled(_ fence: Fence) { merged?.partSignalled(fence) }
}

extension LockClass {
    /// How many parts of a merged fence are pending: taken on the signalling path.
    static let mergedFence = LockClass("merged-fence", rank: 98, signallingSafe: true)
}
