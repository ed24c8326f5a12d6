/// How many jobs came and what became of them.
///
/// Once all have ended, `submitted` is the sum of the other three.
public struct JobCounts: Equatable, Sendable {
    /// Pushed.
    public var submitted: UInt64 = 0
    /// Ended with success.
    public var completed: UInt64 = 0
    /// Ended by a fault of their own or by their time-out.
    public var failed: UInt64 = 0
    /// Ended because their queue was banned, killed or closed, or their engine stopped.
    public var cancelled: UInt64 = 0

    /// No jobs yet.
    public init() {}
}
