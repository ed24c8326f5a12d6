import Fencing
import Synchronization

// @unchecked: until it is armed a job is its creator's; then the fields below are guarded by the
// lock of the queue's engine, or belong to the engine's thread that has the queue; times are atomic.
/// A unit of work: in-fences gate it, a body does it, an out-fence follows it.
///
/// The way of a job is that of the kernel's scheduler: create it, ``addDependency(_:)``, then
/// ``JobQueue/arm(_:)``, which fixes its place and makes its out-fence, publish that fence, and
/// ``JobQueue/push(_:)``. From arming on nothing can fail. Source: drm_sched_job_arm and
/// drm_sched_entity_push_job (drivers/gpu/drm/scheduler/sched_main.c, sched_entity.c).
///
/// An in-fence that signals with an error does not stop the job: an error of a dependency is a
/// result for whoever reads that fence, and the scheduler takes it as signalled, as drm_sched does.
///
/// Threading: one thread creates and arms it; ``times`` may be read from any thread.
public final class Job: @unchecked Sendable {
    enum Stage { case created, armed, pushed, ended }

    /// What the job does.
    public let body: any JobBody
    /// The out-fence; nil until the job is armed.
    public internal(set) var fence: Fence?

    var stage = Stage.created
    /// Abandoned by its submitter, or pushed into a queue that takes no jobs any more.
    var isCancelled = false
    var queue: JobQueue?
    var next: Job?
    var dependencies: [JobDependency] = []
    /// The in-fences still to come, and one for the push.
    let pending = Atomic<Int>(1)

    /// Engine time and blocked time so far, ns: what the time-out is measured against.
    var charged: UInt64 = 0
    /// When the last quantum ended blocked; 0 if it did not.
    var blockedSince: UInt64 = 0
    var recheckDelay: UInt64 = 0

    let submittedAt = Atomic<UInt64>(0)
    let runnableAt = Atomic<UInt64>(0)
    let startedAt = Atomic<UInt64>(0)
    let endedAt = Atomic<UInt64>(0)

    /// Creates a job without in-fences.
    public init(body: any JobBody) { self.body = body }

    /// Makes the job wait for `fence`, be it an explicit in-fence or an implicit dependency.
    ///
    /// A fence that has signalled already costs nothing, and of several fences of one context only
    /// the latest is kept, since it signals last. O(dependencies). Allocates; before
    /// ``JobQueue/arm(_:)`` only.
    public func addDependency(_ fence: Fence) {
        precondition(stage == .created, "dependencies are added before the job is armed")
        if fence.isSignalled { return }
        if let index = dependencies.firstIndex(where: { $0.fence.context == fence.context }) {
            if fence.sequenceNumber > dependencies[index].fence.sequenceNumber {
                dependencies[index] = JobDependency(fence)
            }
            return
        }
        dependencies.append(JobDependency(fence))
    }

    /// When the job reached its milestones so far.
    public var times: JobTimes {
        JobTimes(
            submitted: submittedAt.load(ordering: .relaxed),
            runnable: runnableAt.load(ordering: .relaxed),
            started: startedAt.load(ordering: .relaxed),
            ended: endedAt.load(ordering: .relaxed))
    }

    var hasStarted: Bool { startedAt.load(ordering: .relaxed) != 0 }

    /// Called by each in-fence, on the thread that signals it.
    func dependencySignalled() {
        if pending.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 {
            queue?.scheduler.dependenciesSignalled(of: self)
        }
    }

    /// Puts the job's nodes on their fences; the queue's own earlier fences need none, because the
    /// queue is in order.
    func registerDependencies(context: UInt64) {
        for dependency in dependencies where dependency.fence.context != context {
            dependency.job = self
            pending.add(1, ordering: .relaxed)
            if !dependency.fence.addCallback(dependency) {
                pending.subtract(1, ordering: .relaxed)
            }
        }
        pending.subtract(1, ordering: .acquiringAndReleasing)
    }

    /// Takes the nodes off the fences that have not signalled. A callback that runs meanwhile finds
    /// the job gone from its queue.
    func dropDependencies() {
        for dependency in dependencies where dependency.job != nil {
            _ = dependency.fence.removeCallback(dependency)
        }
        dependencies = []
    }
}
