/// A queue at one moment, for introspection.
public struct JobQueueStatus: Equatable, Sendable {
    /// Where the queue stands with its engine.
    public enum Activity: Equatable, Sendable {
        /// It has no jobs, and every hook of those that it had is through.
        case idle
        /// Its first job waits for in-fences.
        case waiting
        /// It waits for its turn on the engine.
        case ready
        /// The engine executes it.
        case running
        /// Its first job waits for a value in memory.
        case blocked
    }

    /// Whether the queue takes jobs.
    public var state: JobQueueState
    /// Where it stands.
    public var activity: Activity
    /// Jobs that are armed or pushed and have not ended, that is: with a hook still to run.
    public var pendingJobs: Int
    /// Engine time used by all its jobs so far, ns.
    public var busyNanoseconds: UInt64
    /// What became of its jobs.
    public var jobs: JobCounts
}
