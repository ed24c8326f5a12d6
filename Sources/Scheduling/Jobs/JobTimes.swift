/// The milestones of a job, each CLOCK_MONOTONIC ns, 0 while it has not been reached.
public struct JobTimes: Equatable, Sendable {
    /// The job was pushed into its queue.
    public var submitted: UInt64
    /// The last of its in-fences had signalled.
    public var runnable: UInt64
    /// Its first quantum began; stays 0 for a job that was cancelled before.
    public var started: UInt64
    /// Its out-fence signalled: the fence's own timestamp.
    public var ended: UInt64
}
