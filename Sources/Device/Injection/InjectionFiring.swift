/// One time that a rule fired.
public struct InjectionFiring: Sendable, Equatable {
    /// Ascending in the order of happening.
    public var id: UInt64 = 0
    /// CLOCK_MONOTONIC ns.
    public var time: UInt64 = 0
    /// The rule's id.
    public var rule: UInt32
    /// What it does.
    public var kind: InjectionKind
    /// The request that it met; none for a rule that is now.
    public var operation: InjectionOperations
    /// Which of the requests that the rule has met that was, from 1; 0 for a rule that is now.
    public var ordinal: UInt64
    /// The client's id; 0: of several.
    public var client: UInt32 = 0
    /// What reports call the client; empty for several.
    public var clientName = ""
    /// Its process id.
    public var process: Int32 = 0
    /// The VM's device-wide id; 0: none.
    public var vm: UInt32 = 0
    /// The queue's device-wide id; 0: none, or a VM's own.
    public var queue: UInt32 = 0
    /// Buffers that left VRAM, or queues that were killed.
    public var affected: UInt32 = 0
}

extension InjectionFiring: CustomStringConvertible {
    /// What happened, in one line.
    public var description: String {
        let what =
            switch kind {
            case .hang: "the job hangs until its time-out"
            case .fault: "the job meets a page fault"
            case .shortage: "answered ENOMEM"
            case .eviction: "\(affected) buffers left VRAM"
            case .delay: "delayed"
            case .deviceLost: "\(affected) queues killed"
            }
        let place = operation.isEmpty ? "now" : "at \(operation) number \(ordinal)"
        return "injected \(kind.name) \(place), rule \(rule): \(what)"
    }
}
