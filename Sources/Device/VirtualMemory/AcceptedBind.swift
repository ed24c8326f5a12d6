import Fencing
import Scheduling

/// A bind that nothing can refuse any more, and whose job has yet to be started.
///
/// ``start()`` must follow, soon and on any path: what was submitted later waits for it. Between the two
/// a caller can answer its client, who goes on while the page tables are written.
///
/// Threading: ``start()`` is called once, without locks that the job or its fence's callbacks take.
struct AcceptedBind: Sendable {
    let result: BindResult
    let job: Job
    let queue: JobQueue
    /// Whether the calling thread may execute the first quantum.
    let mayRun: Bool

    /// Signals when the page tables show the request.
    var fence: Fence { result.fence }

    func start() { queue.push(job, mayRun: mayRun) }
}
