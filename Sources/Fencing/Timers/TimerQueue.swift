// @unchecked: every variable is guarded by `lock`.
/// Deadlines, served by one thread.
///
/// Scheduling and cancelling allocate nothing and are allowed in a ``SignallingSection``. Events of
/// one deadline fire in the order of their scheduling.
///
/// Threading: any thread; ``stop()`` not from an event. A started queue lives until it is stopped.
public final class TimerQueue: @unchecked Sendable {
    private let lock = Lock(.timer)
    private let changed = Condition()
    private let name: String
    private var heap = TimerHeap()
    private var scheduled: UInt64 = 0
    private var isStarted = false
    private var isStopping = false
    private var thread: RuntimeThread?

    /// Creates a queue without a thread; events may be scheduled already.
    ///
    /// - Parameter name: The thread's name; the kernel keeps 15 bytes.
    public init(name: String = "timers") {
        self.name = name
    }

    deinit { dropAll() }

    /// Starts the thread; a second call does nothing.
    ///
    /// - Throws: ``FencingError/noThread``.
    public func start() throws(FencingError) {
        let isFirst = lock.withLock {
            defer { isStarted = true }
            return !isStarted
        }
        guard isFirst else { return }
        guard let started = RuntimeThread.start(name: name, { self.run() }) else {
            lock.withLock { isStarted = false }
            throw .noThread
        }
        lock.withLock { thread = started }
    }

    /// Ends the thread and waits for it; events that have not fired are dropped.
    ///
    /// Threading: not at the same time as ``start()``.
    public func stop() {
        let ending = lock.withLock {
            isStopping = true
            return exchange(&thread, with: nil)
        }
        changed.broadcast()
        ending?.join()
        dropAll()
    }

    /// Has `event` fire at `deadline`, or as soon as the thread runs if that has passed.
    ///
    /// - Parameter deadline: Absolute CLOCK_MONOTONIC ns.
    public func schedule(_ event: TimerEvent, deadline: UInt64) {
        let isFirst = lock.withLock {
            precondition(!event.isScheduled, "a timer event is scheduled once at a time")
            event.deadline = deadline
            event.order = scheduled
            scheduled += 1
            heap.insert(event)
            return heap.first === event
        }
        if isFirst { changed.signal() }
    }

    /// Takes `event` off the queue.
    ///
    /// - Returns: True if it will not fire; false if it fired, fires now or was not scheduled.
    @discardableResult
    public func cancel(_ event: TimerEvent) -> Bool {
        lock.withLock {
            guard event.isScheduled else { return false }
            heap.remove(event)
            return true
        }
    }

    private func run() {
        while let event = waitForNext() { event.fire() }
    }

    /// Parks until an event is due and takes it; nil when the queue stops.
    private func waitForNext() -> TimerEvent? {
        lock.withLock {
            while !isStopping {
                let first = heap.first
                if let first, first.deadline <= Runtime.now() {
                    heap.remove(first)
                    return first
                }
                changed.wait(lock, deadline: first?.deadline)
            }
            return nil
        }
    }

    private func dropAll() {
        while true {
            // Released outside of the lock: the event's owner may go with it.
            let dropped = lock.withLock { () -> TimerEvent? in
                guard let first = heap.first else { return nil }
                heap.remove(first)
                return first
            }
            if dropped == nil { return }
        }
    }
}
