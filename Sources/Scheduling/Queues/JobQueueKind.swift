/// What a queue's jobs do; the machinery is the same.
public enum JobQueueKind: Equatable, Sendable {
    /// Command streams for an engine.
    case exec
    /// VM_BIND: page-table updates.
    case bind
}
