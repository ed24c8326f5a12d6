import Fencing
import Glibc
import Synchronization

// @unchecked: the log is guarded by its lock.
/// Notes its name when its fence signals.
final class Recorder: FenceCallback, @unchecked Sendable {
    final class Log: Sendable {
        private let names = Guarded<[String]>(.leaf, [])
        var all: [String] { names.withLock { $0 } }
        func append(_ name: String) { names.withLock { $0.append(name) } }
    }

    let name: String
    let log: Log

    init(_ name: String, _ log: Log) {
        self.name = name
        self.log = log
    }

    override func fenceSignalled(_ fence: Fence) { log.append(name) }
}

/// Where the completion of a wait goes.
final class Completion: Sendable {
    private let outcomes = Guarded<[SyncobjWait.Outcome]>(.leaf, [])
    private let arrived = Condition()

    var all: [SyncobjWait.Outcome] { outcomes.withLock { $0 } }

    func callAsFunction(_ outcome: SyncobjWait.Outcome) {
        outcomes.withLock { $0.append(outcome) }
        arrived.broadcast()
    }

    /// The outcome; nil if none comes in 20 s.
    func wait() -> SyncobjWait.Outcome? {
        outcomes.wait(on: arrived, deadline: Runtime.deadline(after: 20_000_000_000)) { $0.first }
    }
}

/// A fence of a context of its own.
func makeFence() -> Fence { FenceContext().makeFence() }

/// Milliseconds from now as a signed deadline.
func deadline(inMilliseconds ms: UInt64) -> Int64 {
    Int64(Runtime.deadline(after: ms * 1_000_000))
}

/// The events that poll(2) finds at once.
func pollNow(_ fd: Int32, _ events: Int32 = POLLIN) -> Int32 {
    var entry = pollfd(fd: fd, events: Int16(events), revents: 0)
    _ = poll(&entry, 1, 0)
    return Int32(entry.revents)
}
