/// A rule and what has become of it.
public struct InjectionStatus: Sendable, Equatable {
    /// Ascending, from 1, never used again.
    public var id: UInt32
    /// The rule, its operations filled in.
    public var rule: InjectionRule
    /// CLOCK_MONOTONIC ns of its making.
    public var created: UInt64
    /// Requests that it has met.
    public var seen: UInt64 = 0
    /// Those that it fired at.
    public var fired: UInt64 = 0
    /// CLOCK_MONOTONIC ns of the last time that it fired; 0: never.
    public var lastFired: UInt64 = 0

    /// Whether it can fire still.
    public var isActive: Bool {
        !rule.isNow && (rule.schedule.count == 0 || fired < rule.schedule.count)
    }
}
