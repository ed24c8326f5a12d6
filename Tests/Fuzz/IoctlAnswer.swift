import Device
import Fencing

/// What a call came to; filled by whatever thread completes it.
final class IoctlAnswer: Sendable {
    private let reply = Guarded<IoctlReply?>(.leaf, nil)
    private let changed = Condition()

    func complete(_ answer: IoctlReply) {
        let isFirst = reply.withLock { reply in
            defer { reply = answer }
            return reply == nil
        }
        guard isFirst else { fuzzFailure("an ioctl returns twice") }
        changed.broadcast()
    }

    /// Waits twenty seconds at most, which is far more than any call takes.
    func get() -> IoctlReply? {
        reply.wait(on: changed, deadline: Runtime.deadline(after: 20_000_000_000)) { $0 }
    }
}
