import Fencing
import Synchronization

// @unchecked: everything below `lock` is guarded by it.
/// One engine: its run lists and the threads that execute jobs.
///
/// Of the queues whose first job can run it takes the most urgent, and round robin among equals,
/// one quantum at a time. A job that waits for a value in memory gives the engine to the others and
/// is looked at again after a growing delay or a ``kick()``; with nothing to do the engine's
/// threads are parked. In-fences are callbacks: no thread ever blocks for a fence. Between a
/// fence's signal and the start of the job behind it nothing is allocated: jobs and queues are
/// linked into the run lists by fields of their own.
///
/// With several workers, queues run in parallel, each still one job at a time: that is what a bind
/// engine is.
///
/// Ownership: its threads keep an engine until ``shutdown(gracefulUntil:)``, which must be called.
///
/// Threading: every method may be called from any thread; those that wait say so.
public final class EngineScheduler: @unchecked Sendable {
    /// Which of the engine's lists a queue is on.
    enum Place: Equatable {
        /// None: it has no jobs.
        case idle
        /// Its first job waits for in-fences, or for its push.
        case waiting
        /// Runnable; the level is 1 + the priority's value, or 5 when its jobs are to be cancelled.
        case ready(level: Int)
        case running
        case blocked

        var listIndex: Int? {
            switch self {
            case .idle: nil
            case .ready(let level): level - 1
            case .running: 5
            case .blocked: 6
            case .waiting: 7
            }
        }

        /// Whether the queue's first job can run, or runs.
        var isActive: Bool {
            switch self {
            case .idle, .waiting: false
            case .ready, .running, .blocked: true
            }
        }
    }

    /// Running until `finishing` refuses submissions and `stopping` cancels what there is.
    enum Phase { case running, finishing, stopping }

    static let cancelLevel = 5

    /// Shown to people and debuggers; the threads are named after it.
    public let name: String
    /// The engine's time constants.
    public let configuration: SchedulerConfiguration
    /// The engines that this one tells about writes to semaphores.
    public let group: EngineGroup?

    let lock = Lock(.scheduler)
    /// Workers park here.
    let work = Condition()
    /// Who waits for a queue or the whole engine to become idle parks here.
    let idle = Condition()
    var phase = Phase.running
    var statistics = SchedulerStatistics()
    var parkedWorkers = 0
    /// Threads that run a job which they pushed, each in the place of a parked one.
    var guests = 0
    var kicks: UInt64 = 0
    /// The earliest `recheckAt` on the blocked list, or earlier.
    var nextRecheck = UInt64.max
    private var idleWaiters = 0
    /// How often a queue got a job that can run.
    private var activations: UInt64 = 0
    private var lists = [QueueList](repeating: QueueList(), count: 8)
    private var threads: [RuntimeThread] = []

    /// Starts an engine.
    ///
    /// - Parameters:
    ///   - name: The kernel shows its first 13 bytes.
    ///   - workers: How many jobs (of different queues) can execute at once, at least 1.
    ///   - group: The engines whose jobs may wait in memory for this one's.
    /// - Throws: ``SchedulingError/noThread``.
    public init(
        name: String, workers: Int = 1, configuration: SchedulerConfiguration = .init(),
        group: EngineGroup? = nil
    ) throws(SchedulingError) {
        precondition(workers > 0, "an engine without a thread executes nothing")
        self.name = name
        self.configuration = configuration
        self.group = group
        for index in 0..<workers {
            let threadName = workers == 1 ? name : "\(name)/\(index)"
            guard let thread = RuntimeThread.start(name: threadName, { self.work(as: index) })
            else {
                shutdown()
                throw .noThread
            }
            threads.append(thread)
        }
        group?.join(self)
    }

    /// What the engine has done so far.
    public var currentStatistics: SchedulerStatistics { lock.withLock { statistics } }

    /// Lets every blocked job look at memory again.
    ///
    /// To be called after a write that may have satisfied a semaphore wait. Cheap; may be called
    /// inside a signalling section.
    public func kick() { lock.withLock { kickLocked() } }

    // MARK: shutdown

    /// Stops the engine and joins its threads, as ``shutdown(_:gracefulUntil:)`` of one.
    public func shutdown(gracefulUntil deadline: UInt64? = nil) {
        Self.shutdown([self], gracefulUntil: deadline)
    }

    /// Stops engines together and joins their threads.
    ///
    /// From here on submissions throw ``SchedulingError/engineStopped``. What runs, is runnable or
    /// blocked on memory, and what becomes runnable through it on any of the engines, goes on until
    /// it is finished or the deadline passes; then the rest is cancelled, engine by engine in their
    /// order. Engines that were stopped before are passed over.
    ///
    /// Waits; never call it from a job's body or a fence callback.
    ///
    /// - Parameter deadline: Absolute CLOCK_MONOTONIC ns; nil cancels everything at once.
    public static func shutdown(
        _ engines: [EngineScheduler], gracefulUntil deadline: UInt64? = nil
    ) {
        SignallingSection.assertOutside("a wait for an engine")
        let stopping = engines.filter { $0.beginShutdown() }
        if let deadline { waitUntilQuiet(stopping, deadline: deadline) }
        for engine in stopping { engine.cancelAll() }
        for engine in stopping {
            engine.group?.leave(engine)
            for thread in engine.threads { thread.join() }
        }
    }

    /// Takes no more jobs; false if that was so before.
    private func beginShutdown() -> Bool {
        lock.withLock {
            guard phase == .running else { return false }
            phase = .finishing
            return true
        }
    }

    private func cancelAll() {
        lock.withLock {
            phase = .stopping
            for index in lists.indices {
                var next = lists[index].first
                while let queue = next {
                    next = queue.nextQueue
                    stopLocked(queue, .closed)
                }
            }
            work.broadcast()
        }
    }

    /// Waits until none of `engines`, which take no more jobs, has a job that can run.
    private static func waitUntilQuiet(_ engines: [EngineScheduler], deadline: UInt64) {
        while true {
            for engine in engines where !engine.waitUntilQuiet(deadline: deadline) { return }
            // The job that was the last of one engine may have made one of another runnable, which
            // was looked at before. Engines that are quiet at two looks, and were not in between,
            // were all quiet at the moment between the looks.
            let first = engines.map(\.activationsIfQuiet)
            if !first.contains(nil), first == engines.map(\.activationsIfQuiet) { return }
        }
    }

    /// False when the deadline passed first.
    private func waitUntilQuiet(deadline: UInt64) -> Bool {
        lock.withLock {
            idleWaiters += 1
            defer { idleWaiters -= 1 }
            while hasActiveQueues {
                if !idle.wait(lock, deadline: deadline) { return !hasActiveQueues }
            }
            return true
        }
    }

    private var activationsIfQuiet: UInt64? {
        lock.withLock { hasActiveQueues ? nil : activations }
    }

    // MARK: the lists; `lock` is held

    var hasActiveQueues: Bool { lists[..<7].contains { $0.count > 0 } }

    var hasQueues: Bool { lists.contains { $0.count > 0 } }

    var hasReadyQueues: Bool { lists[..<5].contains { $0.count > 0 } }

    var hasBlockedQueues: Bool { lists[6].count > 0 }

    func move(_ queue: JobQueue, to place: Place) {
        // Staying keeps its turn, and lets a walk over the list end.
        if queue.place == place { return }
        if let index = queue.place.listIndex { lists[index].remove(queue) }
        if !queue.place.isActive && place.isActive { activations &+= 1 }
        queue.place = place
        if let index = place.listIndex { lists[index].append(queue) }
        switch place {
        // For a blocked queue, so that somebody parks no longer than until its next look.
        case .ready, .blocked: if parkedWorkers > 0 { work.signal() }
        case .idle, .waiting:
            if idleWaiters > 0 { idle.broadcast() }
            if phase == .stopping { work.broadcast() }
        case .running: break
        }
    }

    func takeReady() -> JobQueue? {
        for index in (0..<Self.cancelLevel).reversed() {
            if let queue = lists[index].first {
                move(queue, to: .running)
                return queue
            }
        }
        return nil
    }

    /// Puts a queue that is not running where its first job belongs.
    func settle(_ queue: JobQueue) {
        guard let job = queue.firstJob else { return move(queue, to: .idle) }
        if job.stage == .armed {
            move(queue, to: .waiting)
        } else if queue.state != .active {
            move(queue, to: .ready(level: Self.cancelLevel))
        } else if job.pending.load(ordering: .acquiring) == 0 {
            if job.runnableAt.load(ordering: .relaxed) == 0 {
                job.runnableAt.store(Runtime.now(), ordering: .relaxed)
            }
            move(queue, to: .ready(level: 1 + Int(queue.priority.rawValue)))
        } else {
            move(queue, to: .waiting)
        }
    }

    func kickLocked() {
        kicks &+= 1
        while let queue = lists[6].first {
            queue.firstJob?.recheckDelay = 0
            settle(queue)
        }
        nextRecheck = .max
    }

    /// Makes the blocked queues whose time has come ready; O(blocked) when one has.
    func wakeBlocked(now: UInt64) {
        guard nextRecheck <= now else { return }
        nextRecheck = .max
        var next = lists[6].first
        while let queue = next {
            next = queue.nextQueue
            if queue.recheckAt <= now {
                settle(queue)
            } else {
                nextRecheck = min(nextRecheck, queue.recheckAt)
            }
        }
    }

    func stopLocked(_ queue: JobQueue, _ state: JobQueueState) {
        if queue.state == .active || (state == .closed && queue.state != .closed) {
            queue.state = state
        }
        queue.stopRequested.store(true, ordering: .relaxed)
        switch queue.place {
        // A running queue is settled when its slice ends.
        case .idle, .running: break
        case .waiting, .ready, .blocked: settle(queue)
        }
    }

    func waitUntilIdle(_ queue: JobQueue, deadline: UInt64?) -> Bool {
        lock.withLock {
            idleWaiters += 1
            defer { idleWaiters -= 1 }
            while queue.place != .idle {
                if !idle.wait(lock, deadline: deadline) { return queue.place == .idle }
            }
            return true
        }
    }
}
