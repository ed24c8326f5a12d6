/// The execution of one job on an engine, whatever commands it understands.
///
/// Threading: created anywhere, then used by one thread at a time; ``failure`` may be read when the
/// job has ended.
public protocol EngineContext: AnyObject, Sendable {
    /// What stopped it, if something did.
    var failure: EngineFailure? { get }
    /// Whether memory that others may wait for was written since ``clearSemaphoreWrites()``.
    var wroteSemaphore: Bool { get }

    /// Forgets ``wroteSemaphore``.
    func clearSemaphoreWrites()
    /// What the last quantum found to be wrong and went on after, at most one: a quantum ends with
    /// it. The next quantum forgets it.
    func takeHazard() -> EngineFailure?
    /// Executes the next quantum; called again until it is done or has failed.
    ///
    /// - Parameters:
    ///   - quantum: How much at most.
    ///   - shouldStop: Asked between any two pieces of work; true ends the quantum.
    func run(_ quantum: EngineQuantum, shouldStop: () -> Bool) -> EngineOutcome
}

extension EngineContext {
    /// Nothing is looked for.
    public func takeHazard() -> EngineFailure? { nil }
}
