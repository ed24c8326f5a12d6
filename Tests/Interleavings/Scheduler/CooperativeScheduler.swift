import CInterleavings
import Fencing
import Glibc
import TestSupport

// @unchecked: only the thread that has the baton touches anything, and the baton's semaphores order
// what it does after what the one before it did.
/// Runs real threads one at a time; at every scheduling point the seed decides which goes on.
///
/// Threads are the operating system's, so that thread-local state is what it is in the daemon; locks
/// and conditions are words and queues of this class. The clock is virtual: it advances a little at
/// each point and jumps to the next deadline when every thread waits.
final class CooperativeScheduler: ThreadScheduler, @unchecked Sendable {
    typealias LockWord = ScheduledThread.LockWord

    /// More points than any scenario needs: a run that gets here does not end.
    static let pointLimit: UInt64 = 2_000_000
    /// So many points in a row, and a thread of the highest priority is taken for one that polls.
    private static let patience = 2_000

    private let threads: UnsafeMutablePointer<ScheduledThread>
    private static let threadCapacity = 512
    private var threadCount = 0
    private var current = 0
    private var idleCarriers: [Carrier] = []

    private var strategy: SchedulingStrategy
    private var enabled: [Int] = []
    private var clock: UInt64 = 1_000_000_000
    private var nextDeadline = UInt64.max
    private var pointsInARow = 0
    /// Ends the process; set before the first thread starts.
    var onFailure: (String) -> Never = { fatalError($0) }
    private let trace: SchedulingTrace

    /// Points so far.
    private(set) var points: UInt64 = 0
    /// Times that another thread went on.
    private(set) var switches: UInt64 = 0

    /// Makes the calling thread the first one.
    init(seed: UInt64, isVerbose: Bool) {
        strategy = SchedulingStrategy(seed: seed)
        trace = SchedulingTrace(isVerbose: isVerbose)
        threads = .allocate(capacity: Self.threadCapacity)
        add(name: "main", carrier: Carrier(), body: nil)
    }

    /// What the chosen strategy is called.
    var strategyName: String { strategy.name }
    /// The hash of the interleaving so far.
    var traceHash: UInt64 { trace.hash }
    /// Virtual nanoseconds, without a scheduling point.
    var time: UInt64 { clock }
    /// The name of the running thread.
    var threadName: String { threads[current].name }

    // MARK: - ThreadScheduler

    func now() -> UInt64 {
        clock += strategy.clockStep
        if strategy.draw(8) == 0 { point(.clock) }
        return clock
    }

    func start(name: String, body: @escaping @Sendable () -> Void) -> UInt64 {
        let carrier = idleCarriers.popLast() ?? makeCarrier()
        let token = add(name: name, carrier: carrier, body: body)
        point(.start)
        return UInt64(token)
    }

    func join(_ token: UInt64) {
        let other = Int(token)
        precondition(other < threadCount, "a thread is joined that was never started")
        if case .ended = threads[other].status {
            point(.join)
        } else {
            threads[current].status = .join(other)
            choose(.join)
        }
    }

    func lock(_ address: UnsafeMutableRawPointer, of lockClass: LockClass) {
        let word = address.assumingMemoryBound(to: LockWord.self)
        if word.pointee.owner == UInt32(current + 1) {
            fail("a thread takes a lock of class \(lockClass.name) that it holds")
        }
        // One choice for both: another thread may go on although the lock is free.
        want(word, lockClass)
        choose(.lock, lockClass, UInt(bitPattern: address))
        take(word, lockClass)
    }

    func tryLock(_ address: UnsafeMutableRawPointer, of lockClass: LockClass) -> Bool {
        let word = address.assumingMemoryBound(to: LockWord.self)
        point(.tryLock, lockClass, UInt(bitPattern: address))
        guard word.pointee.owner == 0 else { return false }
        word.pointee.waiters += 1
        take(word, lockClass)
        return true
    }

    func unlock(_ address: UnsafeMutableRawPointer) {
        let word = address.assumingMemoryBound(to: LockWord.self)
        let lockClass = release(word)
        // What lies between this and the thread's next lock may be atomics: sometimes a point.
        if word.pointee.waiters > 0 || strategy.draw(4) == 0 {
            point(.unlock, lockClass, UInt(bitPattern: address))
        }
    }

    func wait(
        condition: UnsafeRawPointer, lock: UnsafeMutableRawPointer, deadline: UInt64?
    ) -> Bool {
        let word = lock.assumingMemoryBound(to: LockWord.self)
        let lockClass = release(word)
        let deadline = deadline ?? .max
        threads[current].status = .wait(condition: condition, lock: word, deadline: deadline)
        threads[current].wantedClass = lockClass
        threads[current].timedOut = false
        nextDeadline = min(nextDeadline, deadline)
        choose(.wait, lockClass, UInt(bitPattern: condition))
        take(word, lockClass)
        note(threads[current].timedOut ? .timedOut : .woken, lockClass, UInt(bitPattern: condition))
        return !threads[current].timedOut
    }

    func wake(condition: UnsafeRawPointer, all: Bool) {
        let woken = wakeWaiters(of: condition, all: all)
        if woken > 0 || strategy.draw(4) == 0 {
            point(.wake, nil, UInt(bitPattern: condition))
        }
    }

    // MARK: - Threads

    @discardableResult
    private func add(
        name: String, carrier: Carrier, body: (@Sendable () -> Void)?
    ) -> Int {
        precondition(threadCount < Self.threadCapacity, "a scenario starts too many threads")
        let id = threadCount
        (threads + id).initialize(to: ScheduledThread(name: name, carrier: carrier))
        threads[id].priority = strategy.makePriority()
        threads[id].body = body
        threadCount += 1
        return id
    }

    private func makeCarrier() -> Carrier {
        let carrier = Carrier()
        guard carrier.start({ [self] in carry() }) else { fail("the system refuses a thread") }
        return carrier
    }

    /// Runs the body of the thread that was just given the baton, and passes the baton on.
    private func carry() {
        let me = current
        runBody(of: me)
        guard threads[me].held.isEmpty else { fail("a thread ended while it held a lock") }
        threads[me].status = .ended
        for id in 0..<threadCount {
            if case .join(me) = threads[id].status { threads[id].status = .ready }
        }
        idleCarriers.append(threads[me].carrier)
        let next = nextThread(.end, nil, 0)
        current = next
        switches += 1
        threads[next].carrier.wake()
    }

    @inline(never)
    private func runBody(of id: Int) {
        // Out of the record first, so that what the closure holds goes while the thread still runs.
        let body = threads[id].body
        threads[id].body = nil
        body?()
    }

    // MARK: - Locks

    private func want(_ word: UnsafeMutablePointer<LockWord>, _ lockClass: LockClass) {
        word.pointee.waiters += 1
        threads[current].status = .lock(word)
        threads[current].wantedClass = lockClass
    }

    private func take(_ word: UnsafeMutablePointer<LockWord>, _ lockClass: LockClass) {
        precondition(word.pointee.owner == 0, "a thread was chosen whose lock is taken")
        word.pointee.owner = UInt32(current + 1)
        word.pointee.waiters -= 1
        threads[current].status = .ready
        threads[current].held.append(.init(word: word, lockClass: lockClass))
    }

    private func release(_ word: UnsafeMutablePointer<LockWord>) -> LockClass {
        guard word.pointee.owner == UInt32(current + 1),
            let index = threads[current].held.lastIndex(where: { $0.word == word })
        else { fail("a thread gives up a lock that it does not hold") }
        word.pointee.owner = 0
        return threads[current].held.remove(at: index).lockClass
    }

    // MARK: - Waiting

    private func wakeWaiters(of condition: UnsafeRawPointer, all: Bool) -> Int {
        var waiters = 0
        for id in 0..<threadCount where isWaiting(id, for: condition) { waiters += 1 }
        guard waiters > 0 else { return 0 }
        // Who is woken by a signal is nobody's to rely on.
        var skip = all || waiters == 1 ? 0 : Int(strategy.draw(UInt64(waiters)))
        for id in 0..<threadCount where isWaiting(id, for: condition) {
            if skip > 0 {
                skip -= 1
                continue
            }
            endWait(of: id)
            if !all { return 1 }
        }
        return waiters
    }

    private func isWaiting(_ id: Int, for condition: UnsafeRawPointer) -> Bool {
        if case .wait(condition, _, _) = threads[id].status { true } else { false }
    }

    private func endWait(of id: Int) {
        guard case .wait(_, let word, _) = threads[id].status else { return }
        word.pointee.waiters += 1
        threads[id].status = .lock(word)
    }

    /// Ends the waits whose deadline has come.
    private func expireDeadlines() {
        guard nextDeadline <= clock else { return }
        nextDeadline = .max
        for id in 0..<threadCount {
            guard case .wait(_, _, let deadline) = threads[id].status else { continue }
            if deadline <= clock {
                threads[id].timedOut = true
                endWait(of: id)
            } else {
                nextDeadline = min(nextDeadline, deadline)
            }
        }
    }

    private func wakeSpuriously() {
        guard strategy.wakesSpuriously, strategy.draw(200) == 0 else { return }
        let id = Int(strategy.draw(UInt64(threadCount)))
        endWait(of: id)
    }

    // MARK: - Scheduling points

    /// A point at which the running thread could go on.
    private func point(
        _ kind: SchedulingEvent.Kind, _ lockClass: LockClass? = nil, _ address: UInt = 0
    ) {
        choose(kind, lockClass, address)
    }

    /// Gives the baton to the thread that the seed chooses; returns when this one has it again.
    private func choose(
        _ kind: SchedulingEvent.Kind, _ lockClass: LockClass? = nil, _ address: UInt = 0
    ) {
        let me = current
        let next = nextThread(kind, lockClass, address)
        guard next != me else { return }
        current = next
        switches += 1
        threads[next].carrier.wake()
        threads[me].carrier.sleep()
    }

    private func note(
        _ kind: SchedulingEvent.Kind, _ lockClass: LockClass?, _ address: UInt
    ) {
        trace.append(
            SchedulingEvent(
                kind: kind, thread: current, clock: clock, lockClass: lockClass, address: address),
            threadName: threads[current].name)
    }

    private func nextThread(
        _ kind: SchedulingEvent.Kind, _ lockClass: LockClass?, _ address: UInt
    ) -> Int {
        points += 1
        clock += strategy.clockStep
        note(kind, lockClass, address)
        if points > Self.pointLimit { fail("no end after \(points) scheduling points (livelock)") }
        if strategy.changesPriority(at: points) {
            threads[current].priority = strategy.makeLowestPriority()
        }
        wakeSpuriously()
        while true {
            expireDeadlines()
            enabled.removeAll(keepingCapacity: true)
            for id in 0..<threadCount where threads[id].isEnabled { enabled.append(id) }
            if !enabled.isEmpty { break }
            guard nextDeadline != .max else { fail("deadlock: no thread can go on") }
            clock = nextDeadline
        }
        let next = pick()
        pointsInARow = next == current ? pointsInARow + 1 : 0
        if pointsInARow > Self.patience {
            threads[current].priority = strategy.makeLowestPriority()
            pointsInARow = 0
        }
        return next
    }

    private func pick() -> Int {
        if enabled.count == 1 { return enabled[0] }
        switch strategy.kind {
        case .walk(let oneIn):
            if strategy.draw(oneIn) != 0, enabled.contains(current) { return current }
            return enabled[Int(strategy.draw(UInt64(enabled.count)))]
        case .priorities:
            var best = enabled[0]
            for id in enabled where threads[id].priority > threads[best].priority { best = id }
            return best
        }
    }

    // MARK: - Failure

    /// Ends the run: says why, what every thread waits for and holds, and what happened last.
    func fail(_ reason: String) -> Never {
        var lines = ["\(reason) (thread \(current) \(threads[current].name))"]
        for id in 0..<threadCount {
            if case .ended = threads[id].status { continue }
            lines.append("  \(id) \(threads[id].name): \(describe(id))")
        }
        lines.append("last points:")
        lines += trace.recent { self.threads[$0].name }
        onFailure(lines.joined(separator: "\n"))
    }

    private func describe(_ id: Int) -> String {
        let wanted = threads[id].wantedClass.map { "\($0.name)" } ?? "?"
        let state =
            switch threads[id].status {
            case .ready: id == current ? "runs" : "can go on"
            case .lock(let word):
                word.pointee.owner == 0
                    ? "can take \(wanted)"
                    : "needs \(wanted) of thread \(word.pointee.owner - 1)"
            case .wait(_, _, let deadline):
                "waits, lock class \(wanted)" + (deadline == .max ? "" : ", until \(deadline)")
            case .join(let other): "joins thread \(other)"
            case .ended: "ended"
            }
        let held = threads[id].held.map { "\($0.lockClass.name)" }
        return held.isEmpty ? state : "\(state); holds \(held.joined(separator: ", "))"
    }
}
