import Engines
import Fencing
import Glibc
import Memory
import Scheduling

/// When and how the job behind a fence ran.
public struct FenceInfo: Sendable {
    /// CLOCK_MONOTONIC ns of each milestone, 0 if it was not reached.
    public var times: JobTimes
    /// Whether it has signalled.
    public var isSignalled: Bool
    /// The positive errno that it signalled with.
    public var error: Int32
    /// Which kind of queue it came from.
    public var engineClass: DeviceQueue.EngineClass
    /// The queue's device-wide id.
    public var queue: UInt32
}

extension Client {
    /// Makes an exec or a bind queue on a VM.
    ///
    /// - Parameters:
    ///   - instance: Which copy engine; 0 for a bind queue.
    ///   - priority: `high` needs a privileged client.
    ///   - timeout: ns of engine time that a job may take; nil: the device's default, which is also
    ///     the most that a client without privileges gets.
    /// - Throws: ENOENT for the VM, EINVAL for the engine, EPERM, ENOSPC for the quota.
    public func createQueue(
        vm vmHandle: UInt32, engineClass: DeviceQueue.EngineClass, instance: Int = 0,
        priority: QueuePriority = .normal, timeout: UInt64? = nil
    ) throws(DeviceError) -> UInt32 {
        let vm = try vm(vmHandle)
        try meetShortage(at: .queueCreate, vm: vm.id)
        return try makeQueue(
            vm: vmHandle, engineClass: engineClass, instance: instance, priority: priority,
            timeout: timeout)
    }

    /// As ``createQueue(vm:engineClass:instance:priority:timeout:)``, for a request that has met the
    /// rules of fault injection.
    func makeQueue(
        vm vmHandle: UInt32, engineClass: DeviceQueue.EngineClass, instance: Int = 0,
        priority: QueuePriority = .normal, timeout: UInt64? = nil
    ) throws(DeviceError) -> UInt32 {
        let vm = try vm(vmHandle)
        guard priority < .high || isPrivileged else {
            throw .notPermitted(
                "priority high is for root and the daemon's own user: use normal")
        }
        let id = device.makeQueueID()
        let queue: DeviceQueue
        switch engineClass {
        case .copy:
            guard device.copyEngines.indices.contains(instance) else {
                throw .invalid(
                    """
                    copy engine \(instance): the device has \(device.copyEngines.count), numbered \
                    from 0
                    """)
            }
            let engine = device.copyEngines[instance]
            queue = DeviceQueue(
                id: id, client: self.id, vm: vm, engineClass: .copy, engineInstance: instance,
                jobs: JobQueue(
                    engine.scheduler, name: "queue\(id)", kind: .exec, priority: priority,
                    jobTimeout: jobTimeout(timeout)),
                engine: engine)
        case .bind:
            guard instance == 0 else { throw .invalid("bind queues have instance 0") }
            queue = DeviceQueue(
                id: id, client: self.id, vm: vm, engineClass: .bind, engineInstance: 0,
                jobs: JobQueue(
                    device.bindScheduler, name: "queue\(id)", kind: .bind, priority: priority),
                engine: nil)
        }
        try device.failures.check("make the queue")
        vm.removeIdleQueues()
        try vm.add(queue.jobs)
        do throws(DeviceError) {
            return try state.withLock { state throws(DeviceError) in
                try checkOpen(state)
                guard state.queues.count < quotas.queues else {
                    throw .quota(.queues, limit: UInt64(quotas.queues))
                }
                return state.queues.insert(queue)
            }
        } catch {
            queue.jobs.close()
            vm.removeIdleQueues()
            throw error
        }
    }

    /// A time-out that is not longer than the device's: an engine would be held for as long as its
    /// client likes. Privileged clients know what they do.
    private func jobTimeout(_ wanted: UInt64?) -> UInt64 {
        let usual = device.jobTimeout
        guard let wanted else { return usual }
        return isPrivileged ? wanted : min(wanted, usual)
    }

    /// Closes a queue. An exec queue's jobs are cancelled; a bind queue's are carried out, because
    /// the VA tree has their result already.
    ///
    /// - Throws: ENOENT.
    public func closeQueue(_ handle: UInt32) throws(DeviceError) {
        guard let queue = state.withLock({ $0.queues.remove(handle) }) else {
            throw .noSuch(.queue, handle: handle)
        }
        guard queue.engineClass == .copy else {
            queue.vm.retire(queue.jobs)
            return
        }
        queue.jobs.close()
        queue.vm.removeIdleQueues()
    }

    /// The queue behind a handle.
    ///
    /// - Throws: ENOENT.
    public func queue(_ handle: UInt32) throws(DeviceError) -> DeviceQueue {
        guard let queue = state.withLock({ $0.queues[handle] }) else {
            throw .noSuch(.queue, handle: handle)
        }
        return queue
    }

    /// Cancels all jobs and bans all queues of the client, the VMs' own included. Does not wait.
    public func cancelJobs() {
        for vm in allVMs { vm.vm.cancelJobs() }
    }

    /// All queues, by device-wide id.
    public var allQueues: [DeviceQueue] {
        state.withLock { Array($0.queues.values) }.sorted { $0.id < $1.id }
    }

    /// Submits batches to an exec queue.
    ///
    /// - Parameters:
    ///   - batches: Executed in order; none is an ordered wait and signal.
    ///   - waits: Points that must have been submitted; they gate the job.
    ///   - signals: Points that the job's fence becomes.
    /// - Returns: The job's fence.
    /// - Throws: ENOENT, EINVAL, ECANCELED for a banned queue, EAGAIN for the quota of jobs; then
    ///   nothing has changed.
    public func execute(
        queue handle: UInt32, batches: [CommandBatch], waits: [SyncPoint], signals: [SyncPoint]
    ) throws(DeviceError) -> Fence {
        let queue = try queue(handle)
        guard queue.engineClass == .copy, let engine = queue.engine else {
            throw .invalid("queue \(handle) is a bind queue: VM_BIND takes it, EXEC does not")
        }
        for (index, batch) in batches.enumerated() {
            guard batch.address % 4 == 0, batch.bytes % 4 == 0,
                !batch.address.addingReportingOverflow(batch.bytes).overflow
            else {
                throw .invalid(
                    """
                    batch \(index) at 0x\(hex(batch.address)), 0x\(hex(batch.bytes)) bytes: both \
                    are multiples of 4 and the end does not overflow
                    """)
            }
        }
        try checkJobQuota()
        let inFences = try resolve(waits: waits)
        let outPoints = try prepare(signals: signals)
        let context = CommandContext(
            engine: engine.commands, space: queue.vm.addressSpace, batches: batches)
        return try submit(
            context, to: queue, handle: handle, commands: batches.first?.address,
            inFences: inFences, outPoints: outPoints)
    }

    /// Submits what an engine executes to an exec queue, its fences and points resolved.
    ///
    /// The caller has asked ``checkJobQuota(operations:)``.
    ///
    /// - Parameters:
    ///   - handle: The client's of the queue, for messages.
    ///   - commands: Where its first commands are; nil if it has none.
    ///   - inFences: Gate the job.
    ///   - outPoints: What the job's fence becomes.
    /// - Throws: ENOENT for the VM, ECANCELED for a banned queue, ENOSPC and ENOMEM for memory; then
    ///   nothing has changed.
    func submit(
        _ context: some EngineContext, to queue: DeviceQueue, handle: UInt32, commands: UInt64?,
        inFences: [Fence], outPoints: [PreparedSignal]
    ) throws(DeviceError) -> Fence {
        try meetExecRules(of: queue, commands: commands) {
            injection, delay throws(DeviceError) in
            try device.failures.check("make the job")
            let body = ExecJob(
                queue: queue, context: context, usage: usage, commands: commands ?? 0,
                injection: injection)
            let job = Job(body: body)
            for fence in inFences { job.addDependency(fence) }
            if let delay { job.addDependency(delay) }
            return try submit(
                job, to: queue, handle: handle, outPoints: outPoints, discard: body.discard)
        }
    }

    private func submit(
        _ job: Job, to queue: DeviceQueue, handle: UInt32, outPoints: [PreparedSignal],
        discard: () -> Void
    ) throws(DeviceError) -> Fence {
        defer { device.unmapUnheldBuffers() }
        let fence: Fence
        do throws(DeviceError) {
            fence = try retryingAfterReleases { () throws(DeviceError) in
                try queue.vm.execute(
                    job, on: queue.jobs, handle: handle, for: self, tableQuota: freeTables
                ) { publish($0, to: outPoints) }
            }
        } catch {
            discard()
            throw error
        }
        queue.jobs.push(job)
        remember(job, fence, engineClass: .copy, queue: queue.id)
        return fence
    }

    /// When the job behind a fence ran.
    ///
    /// - Throws: ENOENT for a fence that is not among the client's last.
    public func fenceInfo(context: UInt64, sequence: UInt64) throws(DeviceError) -> FenceInfo {
        let entry = state.withLock {
            $0.recentJobs.find(context: context, sequence: sequence)
        }
        guard let entry else {
            throw .noSuch(.fence, handle: UInt32(truncatingIfNeeded: sequence))
        }
        return FenceInfo(
            times: entry.job.times, isSignalled: entry.fence.isSignalled,
            error: entry.fence.error, engineClass: entry.engineClass, queue: entry.queue)
    }

    func checkJobQuota(operations: Int = 0) throws(DeviceError) {
        guard
            usage.operationsInFlight.load(ordering: .relaxed) + operations
                <= quotas.operationsInFlight
        else { throw .quota(.operationsInFlight, limit: UInt64(quotas.operationsInFlight)) }
        guard usage.jobsInFlight.load(ordering: .relaxed) < quotas.jobsInFlight else {
            throw .quota(.jobsInFlight, limit: UInt64(quotas.jobsInFlight))
        }
    }

    func remember(
        _ job: Job, _ fence: Fence, engineClass: DeviceQueue.EngineClass, queue: UInt32
    ) {
        state.withLock { state in
            guard !state.isClosed else { return }
            state.recentJobs.append(
                JobLog.Entry(fence: fence, job: job, engineClass: engineClass, queue: queue))
        }
    }
}
