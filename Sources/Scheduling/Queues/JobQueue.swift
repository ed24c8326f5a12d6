import Fencing
import Glibc
import Synchronization

// @unchecked: the fields of the second group are guarded by the engine's lock.
/// A stream of jobs that execute in the order of their arming, one at a time.
///
/// Exec queues and bind queues are both of this type. Between queues there is no order but that of
/// fences. A job that fails or exceeds the time-out bans the queue: its fence signals with the
/// error (ETIME for a time-out), the fences of the jobs behind it with ECANCELED, all in order, and
/// later submissions are refused. Other queues go on.
///
/// Ownership: the owner keeps a queue for as long as it wants to submit; the engine keeps it while
/// it has jobs.
///
/// Threading: every method may be called from any thread; those that wait say so.
public final class JobQueue: @unchecked Sendable {
    /// Unique in the process: the id of the context of the queue's fences.
    public var id: UInt64 { context.id }
    /// Shown to people.
    public let name: String
    /// What its jobs do.
    public let kind: JobQueueKind
    /// Its urgency on the engine.
    public let priority: QueuePriority
    /// How long one job may hold the engine or block on memory, ns, counted from its first
    /// quantum; nil for no limit.
    ///
    /// Time that a runnable job spends behind other queues is not counted, so that a crowded
    /// engine does not ban the innocent (compare check_timeout in drivers/gpu/drm/xe/
    /// xe_guc_submit.c, which measures the context's own run time).
    public let jobTimeout: UInt64?
    /// The engine that executes the queue.
    public let scheduler: EngineScheduler

    let context = FenceContext()
    let stopRequested = Atomic<Bool>(false)
    /// Orders the making of fences, which allocates, outside of the engine's lock.
    private let armLock = Lock(.queueArming)

    var state = JobQueueState.active
    var place = EngineScheduler.Place.idle
    var nextQueue: JobQueue?
    unowned(unsafe) var previousQueue: JobQueue?
    var recheckAt: UInt64 = 0
    var counts = JobCounts()
    var busyNanoseconds: UInt64 = 0
    private(set) var firstJob: Job?
    private unowned(unsafe) var lastJob: Job?
    /// Jobs of the FIFO, and the one that has left it and whose hooks have yet to run.
    var pendingJobs = 0

    /// Creates a queue without jobs on `scheduler`.
    ///
    /// - Parameter jobTimeout: ns, see ``jobTimeout``.
    public init(
        _ scheduler: EngineScheduler, name: String, kind: JobQueueKind = .exec,
        priority: QueuePriority = .normal, jobTimeout: UInt64? = nil
    ) {
        self.scheduler = scheduler
        self.name = name
        self.kind = kind
        self.priority = priority
        self.jobTimeout = jobTimeout
    }

    // MARK: submission

    /// Gives `job` its place in the queue and its out-fence; the point of no return.
    ///
    /// The job does not run before ``push(_:)`` or ``abandon(_:)``, one of which must follow soon
    /// and on any path: what is armed later waits for it, and so does ``waitUntilIdle(deadline:)``.
    ///
    /// - Returns: The out-fence, unsignalled.
    /// - Throws: ``SchedulingError/banned(reason:)``, ``SchedulingError/closed`` or
    ///   ``SchedulingError/engineStopped``; the job is then as before.
    public func arm(_ job: Job) throws(SchedulingError) -> Fence {
        try armLock.withLock { () throws(SchedulingError) in
            let fence = context.makeFence()
            try scheduler.append(job, to: self, fence: fence)
            return fence
        }
    }

    /// Lets an armed job run as soon as its in-fences have signalled and the jobs before it ended.
    ///
    /// Never fails. If the queue was banned or closed since, the job ends with ECANCELED.
    ///
    /// - Parameter mayRun: Whether the calling thread may run the job's first quantum itself, in the
    ///   place of a thread of the engine that is parked and would have to be woken: where nothing is
    ///   ahead of the job. It then holds no locks that the job's body, its hooks or callbacks of its
    ///   fence take, and returns a quantum later.
    public func push(_ job: Job, mayRun: Bool = false) {
        scheduler.push(job, cancelled: false, mayRun: mayRun)
    }

    /// Ends an armed job without running it, in its turn, with ECANCELED.
    public func abandon(_ job: Job) { scheduler.push(job, cancelled: true) }

    /// Arms and pushes `job`.
    ///
    /// - Returns: The out-fence; it may have signalled already.
    /// - Throws: As ``arm(_:)``.
    @discardableResult
    public func submit(_ job: Job) throws(SchedulingError) -> Fence {
        let fence = try arm(job)
        push(job)
        return fence
    }

    // MARK: the end

    /// Bans the queue from outside: pending jobs are cancelled, a running one is stopped at its next
    /// slice boundary; later submissions throw ``SchedulingError/banned(reason:)``.
    ///
    /// A cancelled job's fence does not wait for the job's in-fences, which may never signal; it
    /// says nothing about them. Returns at once; see ``waitUntilIdle(deadline:)``. No effect on a
    /// queue that is not active.
    ///
    /// - Parameter reason: A positive errno.
    public func kill(reason: Int32 = ECANCELED) {
        scheduler.stop(self, .banned(reason: reason))
    }

    /// Closes the queue: as ``kill(reason:)``, but later submissions throw
    /// ``SchedulingError/closed``. A banned queue can be closed.
    public func close() { scheduler.stop(self, .closed) }

    /// Waits until the queue has no jobs and no engine executes it or runs a hook of its jobs.
    ///
    /// After ``close()`` or ``kill(reason:)`` this takes a slice for each thread of the engine at
    /// most, and when it returned true no engine touches memory for this queue ever again.
    ///
    /// Never call it from a job's body or a fence callback, nor with a lock that they take.
    ///
    /// - Parameter deadline: Absolute CLOCK_MONOTONIC ns; nil waits for ever.
    /// - Returns: False when the deadline passed first.
    public func waitUntilIdle(deadline: UInt64? = nil) -> Bool {
        SignallingSection.assertOutside("a wait for a queue")
        return scheduler.waitUntilIdle(self, deadline: deadline)
    }

    /// The queue as it is now.
    public var status: JobQueueStatus { scheduler.status(of: self) }

    // MARK: the FIFO, under the engine's lock

    func appendJob(_ job: Job) {
        if let last = lastJob { last.next = job } else { firstJob = job }
        lastJob = job
        pendingJobs += 1
    }

    func removeFirstJob() {
        guard let job = firstJob else { return }
        // Unlinked one by one: dropping a long chain at once would recurse as deep as it is long.
        firstJob = job.next
        job.next = nil
        if firstJob == nil { lastJob = nil }
    }
}

extension LockClass {
    /// A queue's arming: fences are made under it, so the signalling path never takes it.
    static let queueArming = LockClass("queue-arming", rank: 79, signallingSafe: false)
}
