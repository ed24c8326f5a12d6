/// What an engine has done so far.
public struct SchedulerStatistics: Equatable, Sendable {
    /// Its jobs; a job that ended is counted before its fence signals.
    public var jobs = JobCounts()
    /// Jobs among the failed that exceeded their time-out.
    public var timedOut: UInt64 = 0
    /// Engine contexts thrown away because their job failed, timed out or was stopped.
    public var resets: UInt64 = 0
    /// Quanta executed.
    public var slices: UInt64 = 0
    /// Time in which jobs executed, ns, summed over the engine's threads.
    public var busyNanoseconds: UInt64 = 0
}
