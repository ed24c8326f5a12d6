/// What a quantum of a ``CommandContext`` came to.
public enum EngineOutcome: Equatable, Sendable {
    /// All batches have ended.
    case done
    /// The quantum is used up or the caller wanted to stop; there is more to do.
    case yield
    /// A semaphore wait is not satisfied; the next run looks again.
    case blocked
    /// The job faulted and cannot go on.
    case failed(EngineFailure)
}
