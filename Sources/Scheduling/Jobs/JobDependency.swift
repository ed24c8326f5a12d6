import Fencing

// @unchecked: `job` is written once, before the node is on the fence's list.
/// One in-fence of a job, allocated with the job so that nothing is when the fence signals.
final class JobDependency: FenceCallback, @unchecked Sendable {
    let fence: Fence
    /// Set when the node is put on the fence; a job that is never pushed has no cycle with it.
    var job: Job?

    init(_ fence: Fence) { self.fence = fence }

    override func fenceSignalled(_ fence: Fence) { job?.dependencySignalled() }
}
