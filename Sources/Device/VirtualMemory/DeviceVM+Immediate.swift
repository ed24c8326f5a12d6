import Fencing
import GPUVMCore
import Memory
import PageTables
import Scheduling
import Synchronization

// Immediate mode: the tree changes inside of the bind jobs. What a request may need at worst is taken
// at its submission.
extension DeviceVM {
    /// A map of a job that has not executed yet: the tree does not show it.
    struct PendingMap {
        var fence: Fence
        var buffer: ObjectIdentifier
        var range: VirtualRange
    }

    /// Runs `body`, which looks at the mappings, while no job changes them; under the VM's lock.
    func withMappings<Result, Failure: Error>(
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        guard executed.isImmediate else { return try body() }
        return try executed.operationLock.withLock(body)
    }

    /// As ``bind(_:for:usage:publish:)``; the tree is not touched before the job executes.
    ///
    /// Jobs do not say beforehand which buffers they will find, so all are locked, as for an exec.
    func bindImmediately(
        _ request: BindRequest, for client: Client?, usage fenceUsage: FenceUsage,
        publish: (Fence) -> Void
    ) throws(DeviceError) -> AcceptedBind {
        guard !request.recordsOperations else {
            throw .invalid("the ops of an immediate-mode VM are known only when the job executes")
        }
        let job: Job
        let fence: Fence
        lock.lock()
        hasFailurePoints = client != nil && device.failures.isArmed
        do throws(DeviceError) {
            try checkUsable()
            var locking = ExecLocking(ignoresDuplicates: true, cancellation: client?.cancellation)
            try lockReservations(for: request, &locking)
            let body = try makeImmediateJob(request, quota: client?.quotas.mappings)
            job = Job(body: body)
            for fence in request.inFences { job.addDependency(fence) }
            addDependencies(of: job, usage: fenceUsage == .kernel ? .bookkeep : .kernel, locking)
            let coverage = body.coverage
            pending.forEachDependency(of: coverage, queue: request.queue.id) {
                job.addDependency($0)
            }
            reserveSlots(1, locking)
            do throws(DeviceError) {
                try failurePoint("arm the job")
                fence = try arm(job, on: request.queue, handle: request.queueHandle)
            } catch {
                body.discard()
                throw error
            }
            noteSubmission(of: request, fence, coverage)
            locking.addFence(fence, vm: space, privateUsage: fenceUsage, externalUsage: .bookkeep)
            publish(fence)
            locking.unlockAll()
            // The walk may have had the last reference on a pair.
            space.cleanUpDeferred()
        } catch {
            lock.unlock()
            throw error
        }
        lock.unlock()
        return AcceptedBind(
            result: BindResult(fence: fence, operations: []), job: job, queue: request.queue,
            mayRun: false)
    }

    private func makeImmediateJob(
        _ request: BindRequest, quota: Int?
    ) throws(DeviceError) -> ImmediateBindJob {
        let steps = request.array.steps
        let maps = steps.count { $0.kind == .map || $0.kind == .mapNull }
        let unmaps = steps.count { $0.kind == .unmap }
        // A map adds itself and, at worst, the second half of what it splits.
        let mappings = 2 * maps
        if let quota, maps != 0, usage.mappings.load(ordering: .relaxed) + mappings > quota {
            throw .quota(.mappings, limit: UInt64(quota))
        }
        var plan: ImmediatePlan
        do throws(GPUVMError) {
            plan = try ImmediatePlan(
                space, format, maps: maps, unmaps: unmaps, pool: device.tablePool,
                tableQuota: request.tableQuota)
        } catch {
            throw .space(error)
        }
        do throws(DeviceError) {
            for (index, operation) in steps.enumerated() {
                try check(operation, index: index)
                try failurePoint("reserve for operation \(index)")
                try plan.add(operation, index: index)
            }
            try failurePoint("make the job")
        } catch {
            plan.forget()
            throw error
        }
        return ImmediateBindJob(
            vm: self, plan: plan, operations: steps.count, mappings: mappings,
            usage: usage)
    }

    private func check(_ operation: BindStep, index: Int) throws(DeviceError) {
        try checkLocality(operation, index: index)
        guard operation.kind.isNative else {
            throw .invalid("operation \(index): an immediate-mode VM has no sparse regions")
        }
        guard operation.kind != .unmapAll else { return }
        guard space.isValid(address: operation.address, range: operation.range) else {
            throw .bind(
                operation: index,
                .invalidRange(address: operation.address, range: operation.range))
        }
    }

    private func noteSubmission(
        of request: BindRequest, _ fence: Fence, _ coverage: AddressRanges
    ) {
        pending.append(queue: request.queue.id, fence: fence, coverage: coverage)
        pendingMaps.removeAll { $0.fence.isSignalled }
        for operation in request.array.steps {
            guard operation.kind == .map, let buffer = operation.buffer else { continue }
            pendingMaps.append(
                PendingMap(
                    fence: fence, buffer: ObjectIdentifier(buffer),
                    range: VirtualRange(address: operation.address, bytes: operation.range)))
            // A pair that is new does not know yet.
            if buffer.isEvicted { space.setEvicted(true, object: buffer) }
        }
        remember(request.array.steps, unmappedByBuffer: [])
    }

    /// The job that binds buffers anew wherever the tree maps them when it executes: in ranges that
    /// it maps them in now, or that pending jobs will.
    func makeImmediateRebind(
        _ buffers: [BufferObject], tableQuota: Int
    ) throws(DeviceError) -> ImmediateBindJob {
        var plan: ImmediatePlan
        do throws(GPUVMError) {
            plan = try ImmediatePlan(
                space, format, maps: 0, unmaps: 0, pool: device.tablePool,
                tableQuota: tableQuota)
        } catch {
            throw .space(error)
        }
        do throws(DeviceError) {
            for buffer in buffers {
                guard let frames = buffer.frames else { continue }
                var bounds = pendingMaps.compactMap {
                    $0.buffer == ObjectIdentifier(buffer) ? $0.range : nil
                }
                withMappings {
                    space.forEachMapping(of: buffer) {
                        bounds.append(VirtualRange(address: $0.address, bytes: $0.range))
                    }
                }
                try plan.rebind(buffer, frames, within: bounds)
            }
        } catch {
            plan.forget()
            throw error
        }
        return ImmediateBindJob(
            vm: self, plan: plan, operations: buffers.count, mappings: 0, usage: usage)
    }
}
