/// The time constants of an engine.
public struct SchedulerConfiguration: Equatable, Sendable {
    /// How long a job keeps the engine before the next queue has its turn, ns.
    public var quantum: UInt64
    /// The first wait before a blocked job looks at memory again, ns.
    public var shortestRecheck: UInt64
    /// The longest such wait, ns: the delay at which a write that nobody announced is seen.
    public var longestRecheck: UInt64

    /// Creates a configuration.
    public init(
        quantum: UInt64 = 1_000_000, shortestRecheck: UInt64 = 50_000,
        longestRecheck: UInt64 = 2_000_000
    ) {
        self.quantum = quantum
        self.shortestRecheck = max(1, shortestRecheck)
        self.longestRecheck = max(shortestRecheck, longestRecheck)
    }
}
