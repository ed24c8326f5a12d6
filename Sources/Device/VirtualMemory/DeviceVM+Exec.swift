import Fencing
import GPUVMCore
import Memory
import Scheduling

#if MUTANTS
    import Synchronization
#endif

extension DeviceVM {
    /// Submits a job that may use everything that the VM maps.
    ///
    /// All of that is locked; what was evicted is brought back and bound anew, and only then is the
    /// job armed, behind the moves and the rebind. Its fence goes to every locked object, so that
    /// nothing of it moves before the job has ended.
    ///
    /// Source: "Exec function" and "Eviction" of Documentation/gpu/drm-vm-bind-locking.rst,
    /// `xe_exec_ioctl` (drivers/gpu/drm/xe/xe_exec.c).
    ///
    /// - Parameters:
    ///   - client: Whose cancellation ends a wait for a reservation.
    ///   - tableQuota: How many page-table pages the client may still reserve.
    ///   - publish: Attaches the fence to its sync objects; called under the VM's lock.
    /// - Throws: ENOENT, ECANCELED for the queue; ENOSPC and ENOMEM if what the VM maps cannot all
    ///   be resident, EINTR; then the VM is as before, but for buffers that came back or left.
    func execute(
        _ job: Job, on queue: JobQueue, handle: UInt32, for client: Client, tableQuota: Int,
        publish: (Fence) -> Void
    ) throws(DeviceError) -> Fence {
        try lock.withLock { () throws(DeviceError) in
            try checkUsable()
            var locking = ExecLocking(ignoresDuplicates: true, cancellation: client.cancellation)
            let restored = try lockEverything(&locking)
            if !restored.isEmpty { try rebind(restored, tableQuota: tableQuota, &locking) }
            try device.failures.check("arm the job")
            addDependencies(of: job, usage: .kernel, locking)
            reserveSlots(1, locking)
            let fence = try arm(job, on: queue, handle: handle)
            publish(fence)
            // External objects are shared with others, who may synchronise implicitly.
            locking.addFence(fence, vm: space, privateUsage: .bookkeep, externalUsage: .write)
            device.residency.touch(locking)
            locking.unlockAll()
            if executed.isImmediate { space.cleanUpDeferred() }
            return fence
        }
    }

    /// Locks all that the VM maps, and sees to it that all of it is or will be resident.
    ///
    /// - Returns: The buffers whose page-table entries are missing.
    private func lockEverything(
        _ locking: inout ExecLocking
    ) throws(DeviceError) -> [BufferObject] {
        var restored: [BufferObject] = []
        try locking.lockAll { locking throws(GPUVMError) in
            restored.removeAll()
            try locking.prepareVM(space, slots: 1)
            try locking.prepareExternalObjects(of: space, slots: 1)
        } then: { locking throws(ResidencyError) in
            try validate { buffer throws(ResidencyError) in
                // An external object leaves the list only when it is next looked at.
                guard space.isEvicted(buffer) else { return }
                try device.residency.makeResident(buffer, locking: &locking)
                restored.append(buffer)
            }
        }
        return restored
    }

    /// Calls `body` for each evicted buffer of the VM. None leaves the list: that its entries are
    /// there again is said by ``rebind(_:tableQuota:_:)``.
    private func validate(
        _ body: (BufferObject) throws(ResidencyError) -> Void
    ) throws(ResidencyError) {
        var problem: ResidencyError?
        do throws(GPUVMError) {
            try space.validate { object throws(GPUVMError) in
                guard let buffer = object as? BufferObject else { return }
                do throws(ResidencyError) {
                    try body(buffer)
                } catch {
                    problem = error
                    throw .validationFailed(errno: error.errno)
                }
            }
        } catch {
            throw problem ?? .locking(error)
        }
    }

    /// The evicted buffers that a range maps, each once.
    func evictedBuffers(_ address: UInt64, _ range: UInt64) -> [BufferObject] {
        withMappings {
            var list: [BufferObject] = []
            space.forEachVA(from: address) { va in
                guard va.address - min(va.address, address) < range else { return false }
                if let buffer = va.object as? BufferObject, space.isEvicted(buffer),
                    !list.contains(where: { $0 === buffer })
                {
                    list.append(buffer)
                }
                return true
            }
            return list
        }
    }

    /// Submits a job that writes the page-table entries of buffers that were brought back.
    ///
    /// Its fence is memory management's for all private objects, so that later jobs of the VM wait
    /// for it too.
    ///
    /// - Throws: ENOSPC for page tables; then the buffers stay marked, for the next try.
    func rebind(
        _ buffers: [BufferObject], tableQuota: Int, _ locking: inout ExecLocking
    ) throws(DeviceError) {
        #if MUTANTS
            if Mutant.isPlanted("rebindSkipped") {
                for buffer in buffers { space.setEvicted(false, object: buffer) }
                return
            }
        #endif
        let (job, coverage, discard) = try makeRebind(buffers, tableQuota: tableQuota)
        addDependencies(of: job, usage: .kernel, locking)
        // In immediate mode the coverage has all ranges in which the mappings may lie by then, and what
        // can still change them overlaps those.
        pending.forEachDependency(of: coverage, queue: driverQueue.id) { job.addDependency($0) }
        reserveSlots(2, locking)
        let fence: Fence
        do throws(DeviceError) {
            try device.failures.check("arm the rebind")
            fence = try arm(job, on: driverQueue, handle: 0)
        } catch {
            discard()
            throw error
        }
        pending.append(queue: driverQueue.id, fence: fence, coverage: coverage)
        locking.addFence(fence, vm: space, privateUsage: .kernel, externalUsage: .bookkeep)
        for buffer in buffers { space.setEvicted(false, object: buffer) }
        driverQueue.push(job)
    }

    private func makeRebind(
        _ buffers: [BufferObject], tableQuota: Int
    ) throws(DeviceError) -> (job: Job, coverage: AddressRanges, discard: () -> Void) {
        if executed.isImmediate {
            let body = try makeImmediateRebind(buffers, tableQuota: tableQuota)
            return (Job(body: body), body.coverage, { body.discard() })
        }
        var plan = BindPlan(
            format, pool: device.tablePool, tableQuota: tableQuota)
        for buffer in buffers {
            guard buffer.frames != nil else { continue }
            try space.forEachMapping(of: buffer) { va throws(DeviceError) in
                try plan.rebind(va, of: buffer)
            }
        }
        let body = BindJob(vm: self, plan: plan, usage: usage)
        return (Job(body: body), body.coverage, { body.discard() })
    }

    // MARK: what bind and exec share

    /// Makes the job wait for the fences of a usage on all that is locked.
    func addDependencies(of job: Job, usage: FenceUsage, _ locking: borrowing ExecLocking) {
        locking.forEachLocked { object in
            for fence in object.reservation.fences(usage) { job.addDependency(fence) }
        }
    }

    /// Room for more fences, after others have taken what was reserved.
    func reserveSlots(_ count: Int, _ locking: borrowing ExecLocking) {
        locking.forEachLocked { object in
            do throws(ReservationError) {
                try object.reservation.reserve(count)
            } catch {
                preconditionFailure("a number of slots")
            }
        }
    }

    func arm(_ job: Job, on queue: JobQueue, handle: UInt32) throws(DeviceError) -> Fence {
        do throws(SchedulingError) {
            return try queue.arm(job)
        } catch {
            switch error {
            case .banned(let reason): throw .queueBanned(queue: handle, errno: reason)
            case .closed: throw .noSuch(.queue, handle: handle)
            case .engineStopped, .noThread:
                throw .invalid("the device is shutting down")
            }
        }
    }
}
