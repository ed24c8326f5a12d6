/// What an engine does about a missing barrier.
public enum HazardPolicy: String, CaseIterable, Sendable {
    /// It leaves a record and goes on, as hardware goes on.
    case report
    /// It ends the job, so that its channel is killed.
    case fail
    /// It does not look.
    case off
}
