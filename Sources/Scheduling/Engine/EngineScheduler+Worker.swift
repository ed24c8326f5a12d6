import Fencing
import Glibc

/// What the engine's threads do.
extension EngineScheduler {
    /// How a job ends.
    private enum Ending {
        case completed
        case failed(errno: Int32)
        case timedOut
        case cancelled

        var errno: Int32 {
            switch self {
            case .completed: 0
            case .failed(let errno): errno
            case .timedOut: ETIME
            case .cancelled: ECANCELED
            }
        }
    }

    func work(as worker: Int) {
        lock.lock()
        defer { lock.unlock() }
        while true {
            if hasBlockedQueues { wakeBlocked(now: Runtime.now()) }
            if let queue = takeReady() {
                if queue.state == .active, let job = queue.firstJob, !job.isCancelled {
                    executeSlice(of: job, in: queue, worker: worker)
                } else {
                    cancelJobs(of: queue)
                }
                continue
            }
            if phase == .stopping, !hasQueues { return }
            parkedWorkers += 1
            work.wait(lock, deadline: hasBlockedQueues ? nextRecheck : nil)
            parkedWorkers -= 1
        }
    }

    /// Whether the thread that pushes a job can run it at once, as a parked thread would.
    func canRun(_ job: Job, of queue: JobQueue) -> Bool {
        phase == .running && queue.state == .active && !job.isCancelled
            && job.pending.load(ordering: .acquiring) == 0 && parkedWorkers > guests
            && !hasReadyQueues
    }

    /// Runs a job's first quantum on the thread that pushed it; `lock` is held before and after, but
    /// not while the job runs.
    func run(_ job: Job, of queue: JobQueue) {
        guests += 1
        job.runnableAt.store(Runtime.now(), ordering: .relaxed)
        move(queue, to: .running)
        executeSlice(of: job, in: queue, worker: -1)
        guests -= 1
    }

    /// Runs one quantum; `lock` is held before and after, but not while the job runs. The queue is
    /// this thread's meanwhile.
    private func executeSlice(of job: Job, in queue: JobQueue, worker: Int) {
        let kicksBefore = kicks
        lock.unlock()
        let start = Runtime.now()
        let isFirst = !job.hasStarted
        if isFirst { job.startedAt.store(start, ordering: .relaxed) }
        #if MUTANTS
            if Mutant.isPlanted("fenceBeforeWork") { job.fence?.signal() }
        #endif
        var slice = JobSlice(
            worker: worker, start: start, deadline: start.saturatingAdding(configuration.quantum),
            isFirst: isFirst, queue: queue)
        let outcome = SignallingSection.run { job.body.run(&slice) }
        let end = Runtime.now()
        if slice.wroteSemaphore { group?.kick(except: self) }
        lock.lock()

        let kicked = kicks != kicksBefore
        if slice.wroteSemaphore { kickLocked() }
        statistics.slices += 1
        statistics.busyNanoseconds &+= end &- start
        queue.busyNanoseconds &+= end &- start
        let since = job.blockedSince != 0 ? job.blockedSince : start
        job.charged = job.charged.saturatingAdding(end &- since)
        job.blockedSince = 0

        switch outcome {
        case .done: finish(job, in: queue, .completed)
        case .failed(let errno): finish(job, in: queue, .failed(errno: errno > 0 ? errno : EIO))
        case .yield, .blocked:
            if queue.state != .active {
                finish(job, in: queue, .cancelled)
            } else if let timeout = queue.jobTimeout, job.charged >= timeout {
                finish(job, in: queue, .timedOut)
            } else if case .blocked(let recheckAfter) = outcome {
                block(job, in: queue, since: end, recheckAfter: recheckAfter, kicked: kicked)
            } else {
                job.recheckDelay = 0
                settle(queue)
            }
        }
    }

    private func block(
        _ job: Job, in queue: JobQueue, since: UInt64, recheckAfter: UInt64, kicked: Bool
    ) {
        job.blockedSince = since
        // Memory may have changed after the job looked at it.
        if kicked { return settle(queue) }
        let delay =
            job.recheckDelay != 0
            ? job.recheckDelay.saturatingAdding(job.recheckDelay)
            : max(recheckAfter, configuration.shortestRecheck)
        job.recheckDelay = min(delay, configuration.longestRecheck)
        queue.recheckAt = since.saturatingAdding(job.recheckDelay)
        if let timeout = queue.jobTimeout {
            // The caller has found that the job has charged less.
            let end = since.saturatingAdding(timeout - job.charged)
            queue.recheckAt = min(queue.recheckAt, end)
        }
        nextRecheck = min(nextRecheck, queue.recheckAt)
        move(queue, to: .blocked)
    }

    /// Cancels what a queue that is not active any more still has, or the one job that was
    /// abandoned, up to the first job that its submitter has not pushed yet.
    private func cancelJobs(of queue: JobQueue) {
        guard queue.firstJob?.stage == .pushed, let job = queue.firstJob else {
            return settle(queue)
        }
        finish(job, in: queue, .cancelled)
    }

    /// Ends the queue's first job; `lock` is held before and after, but not while hooks run.
    private func finish(_ job: Job, in queue: JobQueue, _ ending: Ending) {
        queue.removeFirstJob()
        job.stage = .ended
        switch ending {
        case .completed:
            statistics.jobs.completed += 1
            queue.counts.completed += 1
        case .cancelled:
            statistics.jobs.cancelled += 1
            queue.counts.cancelled += 1
        case .timedOut, .failed:
            if case .timedOut = ending { statistics.timedOut += 1 }
            statistics.jobs.failed += 1
            queue.counts.failed += 1
            // Before the fence signals: who sees the error finds the queue banned.
            stopLocked(queue, .banned(reason: ending.errno))
        }
        let error = ending.errno
        let mustReset = error != 0 && job.hasStarted
        if mustReset { statistics.resets += 1 }
        lock.unlock()
        job.dropDependencies()
        SignallingSection.run {
            if mustReset { job.body.reset(error: error) }
            job.body.completed(error: error)
            let now = Runtime.now()
            job.endedAt.store(now, ordering: .relaxed)
            job.fence?.signal(error: error, at: now)
        }
        job.body.released(error: error)
        lock.lock()
        queue.pendingJobs -= 1
        // The queue stayed on the running list, so that nobody else took its next job.
        settle(queue)
    }
}

extension UInt64 {
    /// The sum, or the largest number: times far away are never, not long ago.
    fileprivate func saturatingAdding(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
