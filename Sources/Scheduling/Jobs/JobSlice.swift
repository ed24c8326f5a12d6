import Fencing

/// One quantum of engine time, as the job's body sees it.
///
/// Threading: valid on the engine's thread during ``JobBody/run(_:)`` only.
public struct JobSlice {
    /// The number of the engine's thread, from 0; -1 for a thread that runs what it has pushed.
    public let worker: Int
    /// When the quantum began, CLOCK_MONOTONIC ns.
    public let start: UInt64
    /// When the body should give the engine back, CLOCK_MONOTONIC ns.
    public let deadline: UInt64
    /// Whether the job runs for the first time.
    public let isFirst: Bool
    let queue: JobQueue
    private(set) var wroteSemaphore = false

    init(worker: Int, start: UInt64, deadline: UInt64, isFirst: Bool, queue: JobQueue) {
        self.worker = worker
        self.start = start
        self.deadline = deadline
        self.isFirst = isFirst
        self.queue = queue
    }

    /// Whether the queue was killed or closed, so that the rest of the job is in vain.
    ///
    /// One relaxed load: cheap enough to ask between any two steps.
    @inline(__always)
    public var shouldStop: Bool { queue.stopRequested.load(ordering: .relaxed) }

    /// Whether the quantum is over. Reads the clock.
    public var isOver: Bool { shouldStop || Runtime.now() >= deadline }

    /// Tells the engine that memory changed which blocked jobs may be waiting for.
    ///
    /// When the slice ends, the blocked queues of the engine and of its ``EngineGroup`` look again.
    public mutating func noteSemaphoreWrite() { wroteSemaphore = true }
}
