import Scheduling

/// A client's exec or bind queue on one VM.
///
/// Threading: immutable.
public final class DeviceQueue: Sendable {
    /// Which engines execute a queue's jobs; the numbers are the wire's.
    public enum EngineClass: UInt16, Sendable {
        /// Command streams on a copy engine.
        case copy = 0
        /// Page-table updates.
        case bind = 1
    }

    /// Unique in the device.
    public let id: UInt32
    /// Whose jobs it takes.
    public let client: UInt32
    /// The VM that the jobs run in.
    public let vm: DeviceVM
    /// What executes the jobs.
    public let engineClass: EngineClass
    /// Which of the engines of that class.
    public let engineInstance: Int
    /// The engine's scheduler's view.
    public let jobs: JobQueue
    let engine: CopyEngine?

    init(
        id: UInt32, client: UInt32, vm: DeviceVM, engineClass: EngineClass, engineInstance: Int,
        jobs: JobQueue, engine: CopyEngine?
    ) {
        self.id = id
        self.client = client
        self.vm = vm
        self.engineClass = engineClass
        self.engineInstance = engineInstance
        self.jobs = jobs
        self.engine = engine
    }
}
