import Synchronization

// @unchecked: `entries` is guarded by `lock`; `isFinished` and `missing` are atomic; the rest is set
// before the first entry is registered.
/// One wait for any or all of some sync objects' points, without a thread that blocks for it.
///
/// Source: drm_syncobj_array_wait_timeout (drivers/gpu/drm/drm_syncobj.c), ioctls SYNCOBJ_WAIT and
/// SYNCOBJ_TIMELINE_WAIT:
/// - a point without a fence is an error at the start, unless ``Flags/forSubmit`` or
///   ``Flags/available`` is set; once a fence was found, the wait keeps to it, whatever the object
///   holds later;
/// - ``Flags/available`` is content with a fence, signalled or not;
/// - the deadline is absolute CLOCK_MONOTONIC ns; one that has passed polls once;
/// - a fence that signals with an error has signalled.
///
/// The completion runs exactly once: on the caller's thread, the thread that signals (inside a
/// ``SignallingSection``) or the timer's, with no lock held. It may change sync objects: who waits
/// for those is told after it, so that no chain of waits recurses. A wait without a deadline that is
/// neither satisfied nor cancelled lives as long as its objects' fences: cancel what a client that
/// has gone left behind.
///
/// Threading: any thread.
public final class SyncobjWait: @unchecked Sendable {
    /// DRM_SYNCOBJ_WAIT_FLAGS_*.
    public struct Flags: OptionSet, Sendable {
        /// The kernel's bits.
        public let rawValue: UInt32
        /// Takes the kernel's bits as they are; unknown ones are refused by the wait.
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        /// Wait for all points, not for the first.
        public static let all = Flags(rawValue: 1)
        /// A point without a fence is waited for.
        public static let forSubmit = Flags(rawValue: 2)
        /// Wait until a fence is attached, not until it signals.
        public static let available = Flags(rawValue: 4)
        static let known: Flags = [.all, .forSubmit, .available]
    }

    /// An object and the point that is waited for; 0 for the object as a binary one.
    public struct Target: Sendable {
        /// The object.
        public let syncobj: Syncobj
        /// The point.
        public let point: UInt64
        /// Creates a target.
        public init(_ syncobj: Syncobj, point: UInt64 = 0) {
            self.syncobj = syncobj
            self.point = point
        }
    }

    /// The index of the target that satisfied the wait. With ``Flags/all`` it is, as in the kernel,
    /// the first that was satisfied already when the wait began, or UInt32.max.
    public typealias Outcome = Result<UInt32, FencingError>

    private let targets: [Target]
    private let flags: Flags
    private let completion: @Sendable (Outcome) -> Void
    private let timers: TimerQueue?
    private var timeOut: TimerClosure?
    private let lock = Lock(.fenceFD)
    private var entries: [SyncobjWaitEntry] = []
    private let isFinished = Atomic<Bool>(false)
    private let missing: Atomic<Int>
    private var firstAtStart = UInt32.max

    private init(
        _ targets: [Target], _ flags: Flags, _ timers: TimerQueue?,
        _ completion: @escaping @Sendable (Outcome) -> Void
    ) {
        self.targets = targets
        self.flags = flags
        self.timers = timers
        self.completion = completion
        missing = Atomic(targets.count)
    }

    /// Starts a wait.
    ///
    /// - Parameters:
    ///   - targets: At least one; an object may be named more than once.
    ///   - deadline: Absolute CLOCK_MONOTONIC ns, signed; Int64.max waits for ever.
    ///   - timers: Ends the wait at its deadline.
    ///   - completion: Gets the index, or ``FencingError/timeExpired``,
    ///     ``FencingError/notSubmitted(point:)``, ``FencingError/invalidArgument(_:)`` or
    ///     ``FencingError/cancelled``.
    /// - Returns: The wait, for ``cancel()``.
    @discardableResult
    public static func start(
        _ targets: [Target], flags: Flags = [], deadline: Int64 = .max, timers: TimerQueue,
        completion: @escaping @Sendable (Outcome) -> Void
    ) -> SyncobjWait {
        let wait = SyncobjWait(targets, flags, timers, completion)
        wait.begin(deadline: deadline)
        return wait
    }

    /// Waits on the calling thread: for tests and tools, never on a daemon's data path.
    ///
    /// - Returns: The index that ``start(_:flags:deadline:timers:completion:)`` would report.
    public static func wait(
        _ targets: [Target], flags: Flags = [], deadline: Int64 = .max
    ) throws(FencingError) -> UInt32 {
        SignallingSection.assertOutside("a wait for a sync object")
        let parking = Parking()
        let wait = SyncobjWait(targets, flags, nil) { parking.finish($0) }
        wait.begin(deadline: deadline)
        if let outcome = parking.wait(deadline: deadline) { return try outcome.get() }
        wait.finish(.failure(.timeExpired))
        // Either that, or what finished the wait a moment earlier.
        guard let outcome = parking.wait(deadline: .max) else { throw .timeExpired }
        return try outcome.get()
    }

    /// Ends the wait with ``FencingError/cancelled`` unless it has ended.
    ///
    /// - Returns: Whether this call ended it; if so its completion has run.
    @discardableResult
    public func cancel() -> Bool {
        finish(.failure(.cancelled))
    }

    // MARK: Beginning

    private func begin(deadline: Int64) {
        guard !targets.isEmpty else {
            finish(.failure(.invalidArgument("a wait for no object")))
            return
        }
        guard flags.isSubset(of: .known) else {
            finish(.failure(.invalidArgument("unknown wait flags")))
            return
        }
        guard let made = poll() else { return }
        if deadline <= 0 || UInt64(deadline) <= Runtime.now() {
            finish(.failure(.timeExpired))
            return
        }
        lock.withLock { entries = made }
        if deadline != .max, let timers {
            let event = TimerClosure { self.finish(.failure(.timeExpired)) }
            lock.withLock { timeOut = event }
            timers.schedule(event, deadline: UInt64(deadline))
        }
        for entry in made where !isFinished.load(ordering: .acquiring) { register(entry) }
        if isFinished.load(ordering: .acquiring) { withdraw(made) }
    }

    /// Looks at every target once; nil if that ended the wait.
    private func poll() -> [SyncobjWaitEntry]? {
        var made: [SyncobjWaitEntry] = []
        made.reserveCapacity(targets.count)
        var satisfied = 0
        for (index, target) in targets.enumerated() {
            let entry = SyncobjWaitEntry(self, UInt32(index), point: target.point)
            switch target.syncobj.lookUp(target.point) {
            case .missing:
                if flags.isDisjoint(with: [.forSubmit, .available]) {
                    finish(.failure(.notSubmitted(point: target.point)))
                    return nil
                }
            case .signalled:
                entry.isSatisfied = true
            case .pending(let fence):
                entry.fence = fence
                entry.isSatisfied = flags.contains(.available) || fence.isSignalled
            }
            if entry.isSatisfied {
                if satisfied == 0 { firstAtStart = UInt32(index) }
                satisfied += 1
            }
            made.append(entry)
        }
        if satisfied == targets.count || (satisfied > 0 && !flags.contains(.all)) {
            finish(.success(firstAtStart))
            return nil
        }
        missing.subtract(satisfied, ordering: .relaxed)
        return made
    }

    private func register(_ entry: SyncobjWaitEntry) {
        if entry.isSatisfied { return }
        if entry.fence == nil {
            let syncobj = targets[Int(entry.index)].syncobj
            guard let state = syncobj.listUnlessAvailable(entry) else { return }
            found(state, for: entry)
        } else {
            awaitFence(of: entry)
        }
    }

    /// The point of `entry` has a fence now.
    func found(_ state: FenceChain.PointState, for entry: SyncobjWaitEntry) {
        guard case .pending(let fence) = state, !flags.contains(.available) else {
            satisfied(entry)
            return
        }
        lock.withLock { entry.fence = fence }
        awaitFence(of: entry)
    }

    private func awaitFence(of entry: SyncobjWaitEntry) {
        guard let fence = lock.withLock({ entry.fence }) else { return }
        guard fence.addCallback(entry) else {
            satisfied(entry)
            return
        }
        // The wait may have ended between, and its end have missed this entry.
        if isFinished.load(ordering: .acquiring) { _ = fence.removeCallback(entry) }
    }

    // MARK: Ending

    func satisfied(_ entry: SyncobjWaitEntry) {
        if flags.contains(.all) {
            if missing.subtract(1, ordering: .acquiringAndReleasing).newValue > 0 { return }
            finish(.success(firstAtStart))
        } else {
            finish(.success(entry.index))
        }
    }

    @discardableResult
    private func finish(_ outcome: Outcome) -> Bool {
        let (isFirst, _) = isFinished.compareExchange(
            expected: false, desired: true, ordering: .acquiringAndReleasing)
        guard isFirst else { return false }
        withdraw(lock.withLock { exchange(&entries, with: []) })
        if case .success = outcome {
            // Who hears of it by this way must not read an older fence page afterwards.
            for target in targets { target.syncobj.settle() }
        }
        // Taken out, because the event holds the wait.
        if let event = lock.withLock({ exchange(&timeOut, with: nil) }) { timers?.cancel(event) }
        completion(outcome)
        return true
    }

    /// Takes the entries off whatever they are on; those that are not listed yet see the end.
    private func withdraw(_ withdrawn: [SyncobjWaitEntry]) {
        for entry in withdrawn {
            targets[Int(entry.index)].syncobj.unlist(entry)
            let fence = lock.withLock { entry.fence }
            _ = fence?.removeCallback(entry)
        }
    }

    /// Where the blocking variant parks.
    private final class Parking: Sendable {
        private let outcome = Guarded<Outcome?>(.timer, nil)
        private let condition = Condition()

        func finish(_ result: Outcome) {
            outcome.withLock { $0 = result }
            condition.broadcast()
        }

        func wait(deadline: Int64) -> Outcome? {
            outcome.wait(on: condition, deadline: deadline <= 0 ? 0 : UInt64(deadline)) { $0 }
        }
    }
}

// @unchecked: `fence` is guarded by the wait's lock once the entry is registered.
/// One target of a ``SyncobjWait``.
final class SyncobjWaitEntry: SyncobjWaiter, @unchecked Sendable {
    let index: UInt32
    fileprivate var fence: Fence?
    fileprivate var isSatisfied = false
    private let wait: SyncobjWait

    fileprivate init(_ wait: SyncobjWait, _ index: UInt32, point: UInt64) {
        self.wait = wait
        self.index = index
        super.init(point: point)
    }

    override func becameAvailable(_ state: FenceChain.PointState) {
        wait.found(state, for: self)
    }

    override func fenceSignalled(_ fence: Fence) {
        wait.satisfied(self)
    }
}
