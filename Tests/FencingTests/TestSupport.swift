import Fencing
import Glibc
import Synchronization

/// SplitMix64: small, seeded, the same everywhere.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

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
