import Device
import Fencing

/// What a call came to; filled by whatever thread completes it.
final class Answer: Sendable {
    private let reply = Guarded<IoctlReply?>(.leaf, nil)
    private let changed = Condition()

    func complete(_ answer: IoctlReply) {
        reply.withLock { $0 = answer }
        changed.broadcast()
    }

    var isThere: Bool { reply.withLock { $0 != nil } }

    /// Waits ten seconds at most.
    func get() -> IoctlReply? {
        reply.wait(on: changed, deadline: Runtime.deadline(after: 10_000_000_000)) { $0 }
    }
}
