/// Whether a queue takes jobs.
public enum JobQueueState: Equatable, Sendable {
    /// It does.
    case active
    /// A job of it failed or timed out, or it was killed; `reason` is the positive errno.
    case banned(reason: Int32)
    /// Its owner closed it.
    case closed
}
