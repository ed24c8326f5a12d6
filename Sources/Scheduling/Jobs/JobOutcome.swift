/// What a job's quantum came to.
public enum JobOutcome: Equatable, Sendable {
    /// The work is done; the out-fence signals with success.
    case done
    /// The quantum is used up; there is more to do.
    case yield
    /// The job waits for a value in memory; other queues get the engine meanwhile.
    ///
    /// - Parameter recheckAfter: ns until the first new look, 0 for the engine's own choice. Each
    ///   look in vain doubles it, between ``SchedulerConfiguration/shortestRecheck`` and
    ///   ``SchedulerConfiguration/longestRecheck``.
    case blocked(recheckAfter: UInt64)
    /// The job faulted: its out-fence signals with this positive errno and its queue is banned.
    case failed(errno: Int32)
}
