import Engines
import Fencing
import Scheduling

extension Client {
    /// Submits push buffers to a channel's queue; none is an ordered wait and signal.
    ///
    /// - Parameters:
    ///   - inFences: Gate the job.
    ///   - outPoints: What the job's fence becomes.
    /// - Throws: ENOENT for the VM, ECANCELED for a banned queue, EAGAIN for the quota of jobs; then
    ///   nothing has changed.
    func push(
        _ pushes: [NVIDIAPush], to channel: NouveauChannel.Execution, inFences: [Fence],
        outPoints: [PreparedSignal]
    ) throws(DeviceError) -> Fence {
        try checkJobQuota()
        try device.failures.check("make the job")
        let queue = channel.queue
        let body = PushJob(
            queue: queue,
            context: NVIDIAContext(
                engine: channel.engine, channel: channel.channel, space: queue.vm.addressSpace,
                pushes: pushes),
            usage: usage)
        let job = Job(body: body)
        for fence in inFences { job.addDependency(fence) }
        let fence: Fence
        do throws(DeviceError) {
            fence = try retryingAfterReleases { () throws(DeviceError) in
                try queue.vm.execute(
                    job, on: queue.jobs, handle: channel.handle, for: self,
                    tableQuota: freeTables
                ) { publish($0, to: outPoints) }
            }
        } catch {
            body.discard()
            throw error
        }
        queue.jobs.push(job)
        device.unmapUnheldBuffers()
        remember(job, fence, engineClass: .copy, queue: queue.id)
        return fence
    }

    /// As ``bind(vm:queue:operations:waits:signals:recordsOperations:)`` on the VM's own queue, the
    /// fences and points resolved by the caller.
    func bind(
        _ operations: [BindOperation], in vm: DeviceVM, inFences: [Fence],
        outPoints: [PreparedSignal]
    ) throws(DeviceError) -> Fence {
        try DeviceVM.check(operations)
        try checkJobQuota(operations: operations.count)
        let request = DeviceVM.BindRequest(
            operations: operations, queue: vm.defaultBindQueue, queueHandle: 0,
            inFences: inFences, recordsOperations: false, tableQuota: freeTables)
        let bound = try vm.bind(request, for: self) { publish($0, to: outPoints) }
        device.unmapUnheldBuffers()
        remember(bound.job, bound.result.fence, engineClass: .bind, queue: 0)
        return bound.result.fence
    }
}
