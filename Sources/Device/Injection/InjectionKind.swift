/// What a rule does to whom it meets; the numbers are the wire's.
public enum InjectionKind: UInt32, Sendable, CaseIterable {
    /// A job never ends, until its time-out bans the queue.
    case hang = 1
    /// A job meets a page fault, which bans the queue.
    case fault = 2
    /// A request is answered ENOMEM.
    case shortage = 3
    /// Buffers leave VRAM before a job, or now.
    case eviction = 4
    /// A job starts late, or its fence signals late.
    case delay = 5
    /// All exec queues of a client are killed before a job, or now.
    case deviceLost = 6

    /// What people call it.
    public var name: String {
        switch self {
        case .hang: "hang"
        case .fault: "fault"
        case .shortage: "oom"
        case .eviction: "eviction"
        case .delay: "delay"
        case .deviceLost: "device-lost"
        }
    }

    /// The requests that it can meet.
    public var operations: InjectionOperations {
        switch self {
        case .hang, .fault, .eviction, .deviceLost: .exec
        case .delay: [.exec, .bind]
        case .shortage: .all
        }
    }

    /// Whether it can happen without a request.
    public var canBeNow: Bool { self == .eviction || self == .deviceLost }
}
