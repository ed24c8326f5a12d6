import Fencing

extension EngineScheduler {
    func append(_ job: Job, to queue: JobQueue, fence: Fence) throws(SchedulingError) {
        precondition(job.stage == .created, "a job is armed once")
        try lock.withLock { () throws(SchedulingError) in
            switch queue.state {
            case .active: break
            case .banned(let reason): throw .banned(reason: reason)
            case .closed: throw phase == .running ? .closed : .engineStopped
            }
            guard phase == .running else { throw .engineStopped }
            job.stage = .armed
            job.fence = fence
            job.queue = queue
            queue.appendJob(job)
            if queue.place == .idle { settle(queue) }
        }
    }

    func push(_ job: Job, cancelled: Bool, mayRun: Bool = false) {
        #if MUTANTS
            let inner = Lock(.fence)
            let isReversed = Mutant.isPlanted("lockOrderReversed")
            if isReversed { inner.lock() }
            defer { if isReversed { inner.unlock() } }
        #endif
        lock.withLock {
            guard job.stage == .armed, let queue = job.queue else {
                preconditionFailure("a job is pushed or abandoned once, after it was armed")
            }
            job.stage = .pushed
            job.submittedAt.store(Runtime.now(), ordering: .relaxed)
            statistics.jobs.submitted += 1
            queue.counts.submitted += 1
            if cancelled || queue.state != .active {
                job.isCancelled = true
                job.pending.store(0, ordering: .releasing)
            } else {
                job.registerDependencies(context: queue.id)
            }
            guard queue.place == .waiting, queue.firstJob === job else { return }
            if mayRun && canRun(job, of: queue) {
                run(job, of: queue)
            } else {
                settle(queue)
            }
        }
    }

    /// The last of the job's in-fences has signalled.
    func dependenciesSignalled(of job: Job) {
        lock.withLock {
            guard let queue = job.queue, queue.firstJob === job, queue.place == .waiting else {
                return
            }
            settle(queue)
        }
    }

    func stop(_ queue: JobQueue, _ state: JobQueueState) {
        lock.withLock { stopLocked(queue, state) }
    }

    func status(of queue: JobQueue) -> JobQueueStatus {
        lock.withLock {
            let activity: JobQueueStatus.Activity =
                switch queue.place {
                case .idle: .idle
                case .waiting: .waiting
                case .ready: .ready
                case .running: .running
                case .blocked: .blocked
                }
            return JobQueueStatus(
                state: queue.state, activity: activity, pendingJobs: queue.pendingJobs,
                busyNanoseconds: queue.busyNanoseconds, jobs: queue.counts)
        }
    }
}
