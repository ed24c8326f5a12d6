import Fencing

/// Engines whose jobs may wait in memory for each other.
///
/// A write that could end such a wait is announced by ``kick()``; without it the waiting job looks
/// again after at most ``SchedulerConfiguration/longestRecheck``.
///
/// Threading: any thread.
public final class EngineGroup: Sendable {
    private let members = Guarded<[EngineScheduler]>(.leaf, [])

    /// Creates a group without engines; each ``EngineScheduler`` joins its group by itself.
    public init() {}

    /// Lets every blocked job of the group's engines look at memory again.
    public func kick() { kick(except: nil) }

    func kick(except: EngineScheduler?) {
        // The array is copied by reference: kick() takes a lock that comes before the list's.
        for member in members.withLock({ $0 }) where member !== except { member.kick() }
    }

    func join(_ scheduler: EngineScheduler) { members.withLock { $0.append(scheduler) } }

    func leave(_ scheduler: EngineScheduler) {
        members.withLock { $0.removeAll { $0 === scheduler } }
    }
}
