import Fencing
import GPUVMCore
import Memory
import PageTables
import Scheduling
import Synchronization

/// What a VM_BIND came to.
public struct BindResult: Sendable {
    /// Signals when the page tables show the request.
    public var fence: Fence
    /// The op lists, if they were asked for.
    public var operations: [ExecutedOperation]
}

extension DeviceVM {
    /// Everything that a request needs before the VM's lock is taken.
    struct BindRequest {
        var array: BindArray
        var queue: JobQueue
        /// For messages; 0 is the VM's own.
        var queueHandle: UInt32
        var inFences: [Fence]
        var recordsOperations: Bool
        /// How many page-table pages the client may still reserve.
        var tableQuota: Int
    }

    /// Unmaps a buffer that nobody holds any more, for the driver itself.
    ///
    /// Jobs that were submitted finish on valid memory: it waits for all work on the buffer. Later
    /// ones find nothing: they wait for it, because its fence is memory management's.
    func unmapUnheld(_ buffer: BufferObject) {
        let request = BindRequest(
            array: BindArray([BindOperation(.unmapAll, buffer: buffer)]), queue: driverQueue,
            queueHandle: 0, inFences: [], recordsOperations: false, tableQuota: .max)
        do throws(DeviceError) {
            try bind(request, usage: .kernel, publish: { _ in }).start()
        } catch {
            // Only the generic format takes page tables to show a sparse region again; without any the
            // VM is wrong, and loud.
            if case .pageTables = error { fail(error.errno) }
            dropUnheld(buffer)
        }
    }

    /// Takes a buffer out of the tree of a VM that executes no binds any more: it was banned, or its
    /// jobs were cancelled. Its page table is not brought up to date, so no engine may use it.
    private func dropUnheld(_ buffer: BufferObject) {
        lock.withLock {
            guard condition != .closed else { return }
            cutOff()
            var locking = ExecLocking(ignoresDuplicates: true)
            try? locking.untilAllLocked { locking throws(GPUVMError) in
                try locking.prepareVM(space, slots: 1)
                try locking.prepare(buffer, slots: 1)
            }
            let before = withMappings { space.mappingCount }
            if executed.isImmediate {
                guard var none = try? space.reserveImmediate(maps: 0, unmaps: 0) else { return }
                withMappings { space.executeUnmapObject(buffer, using: &none) { _ in } }
                space.cleanUpDeferred()
            } else {
                var ops = OpList()
                try? space.planUnmapObject(buffer, into: &ops)
                if !ops.isEmpty { _ = try? space.apply(&ops) }
            }
            let after = withMappings { space.mappingCount }
            usage.mappings.add(after - before, ordering: .relaxed)
        }
    }

    /// Checks the numbers of an array; what depends on the VM's state is checked under its lock.
    static func check(_ array: BindArray) throws(DeviceError) {
        for index in array.steps.indices { try check(array.steps[index], index: index) }
    }

    private static func check(_ operation: BindStep, index: Int) throws(DeviceError) {
        let (kind, address, range) = (operation.kind, operation.address, operation.range)
        func refuse(_ why: String) -> DeviceError {
            .invalid(
                "operation \(index) (\(kind)) at 0x\(hex(address)), 0x\(hex(range)) bytes: \(why)")
        }
        if kind == .unmapAll {
            guard address == 0, range == 0 else {
                throw refuse("it unmaps a buffer wherever it is; address and range are 0")
            }
            return
        }
        guard range != 0 else { throw refuse("the range is empty") }
        guard (address | range | operation.offset) % frameSize == 0 else {
            throw refuse("address, range and offset are multiples of 4096")
        }
        guard !address.addingReportingOverflow(range).overflow else {
            throw refuse("the end is beyond 2^64")
        }
        guard kind == .map, operation.object != nil else { return }
        let size = operation.size
        guard operation.offset <= size, range <= size - operation.offset else {
            throw refuse(
                """
                offset 0x\(hex(operation.offset)) and range end past the buffer's 0x\(hex(size)) \
                bytes
                """)
        }
    }

    /// Carries a checked request out: all of it, or nothing.
    ///
    /// The way is lock the reservations, then validate, plan, reserve, apply for each operation, then
    /// arm the job and add its fence to what it touches. Whatever fails rolls the VA tree back to
    /// what it was; once the job is armed nothing fails any more.
    ///
    /// - Parameters:
    ///   - client: Whose quotas count; nil for the driver's own requests, which unmap.
    ///   - usage: What the fence stands for on the VM's reservation.
    ///   - publish: Attaches the fence to its sync objects; called under the VM's lock.
    /// - Returns: The bind, which the caller starts.
    func bind(
        _ request: BindRequest, for client: Client? = nil, usage fenceUsage: FenceUsage = .bookkeep,
        publish: (Fence) -> Void
    ) throws(DeviceError) -> AcceptedBind {
        if executed.isImmediate {
            return try bindImmediately(request, for: client, usage: fenceUsage, publish: publish)
        }
        let job: Job
        let result: BindResult
        lock.lock()
        hasFailurePoints = client != nil && device.failures.isArmed
        do throws(DeviceError) {
            try checkUsable()
            try checkSparseRegions(request.array.steps)
            var locking = ExecLocking(
                ignoresDuplicates: true, cancellation: client?.cancellation)
            try lockReservations(for: request, &locking)
            var plan = BindPlan(
                format, pool: device.tablePool, tableQuota: request.tableQuota,
                buffers: request.array.buffers)
            // The VM's own change with the tree, and not at all if a step fails.
            var regions = sparse
            let before = space.mappingCount
            space.begin()
            do throws(DeviceError) {
                plan.makeRoom(for: request.array.count)
                let quota = client?.quotas.mappings ?? 0
                for index in request.array.steps.indices {
                    let others = usage.mappings.load(ordering: .relaxed) - before
                    try apply(
                        request.array.steps[index], index: index, to: &plan, &regions,
                        quota: quota - others, records: request.recordsOperations)
                }
                try failurePoint("make the job")
            } catch {
                #if MUTANTS
                    if Mutant.isPlanted("noRollback") {
                        space.commit()
                        throw error
                    }
                #endif
                space.rollback()
                throw error
            }
            let body = BindJob(vm: self, plan: plan, usage: usage)
            (job, result) = try submit(body, request, fenceUsage, &locking, mappingsBefore: before)
            sparse = regions
            publish(result.fence)
            locking.unlockAll()
        } catch {
            lock.unlock()
            throw error
        }
        lock.unlock()
        return AcceptedBind(
            result: result, job: job, queue: request.queue, mayRun: client != nil)
    }

    /// A step of a client's request that may fail on purpose.
    @inline(__always)
    func failurePoint(_ step: @autoclosure () -> String) throws(DeviceError) {
        if hasFailurePoints { try device.failures.check(step()) }
    }

    /// Locks the VM's reservation and those of all buffers that the array may touch: an earlier
    /// operation can make a later one's plan differ, but not touch other objects.
    ///
    /// Brings back what the array's prefetches will find evicted.
    func lockReservations(
        for request: BindRequest, _ locking: inout ExecLocking
    ) throws(DeviceError) {
        var restored: [BufferObject] = []
        try locking.lockAll { locking throws(GPUVMError) in
            restored.removeAll()
            try locking.prepareVM(space, slots: 1)
            if executed.isImmediate {
                try locking.prepareExternalObjects(of: space, slots: 1)
            }
            // Ranges that go on where the one before ended are walked together.
            var walked: Range<UInt64> = 0..<0
            for step in request.array.steps {
                if let object = step.object, !locking.isKnownPrepared(object, slots: 1) {
                    try locking.prepare(object.takeUnretainedValue(), slots: 1)
                }
                guard step.kind != .unmapAll, !executed.isImmediate else { continue }
                if step.address == walked.upperBound {
                    walked = walked.lowerBound..<step.addresses.upperBound
                } else {
                    try prepareTouched(walked, &locking)
                    walked = step.addresses
                }
            }
            try prepareTouched(walked, &locking)
        } then: { locking throws(ResidencyError) in
            let steps = request.array.steps
            for index in steps.indices where steps[index].kind == .prefetch {
                // What nobody holds any more is mapped still, and not locked (weak references).
                for buffer in prefetched(by: index, of: steps)
                where locking.holds(buffer.reservation)
                    && !restored.contains(where: { $0 === buffer })
                {
                    try device.residency.makeResident(buffer, locking: &locking)
                    restored.append(buffer)
                }
            }
        }
        let unbound = restored.filter { space.isEvicted($0) }
        if !unbound.isEmpty { try rebind(unbound, tableQuota: request.tableQuota, &locking) }
    }

    private func prepareTouched(
        _ range: Range<UInt64>, _ locking: inout ExecLocking
    ) throws(GPUVMError) {
        guard !range.isEmpty else { return }
        try locking.prepareTouched(
            of: space, address: range.lowerBound, range: range.upperBound - range.lowerBound,
            slots: 1)
    }

    /// The evicted buffers that a prefetch will find: those that earlier operations of the array map
    /// in its range, and where those change nothing, those that the tree maps.
    private func prefetched(by index: Int, of operations: [BindStep]) -> [BufferObject] {
        let wanted = operations[index]
        var pieces = [wanted.address..<(wanted.address + wanted.range)]
        var found: [BufferObject] = []
        var unmapped: [BufferObject] = []
        func add(_ buffer: BufferObject) {
            let isKnown = (found + unmapped).contains { $0 === buffer }
            if buffer.isEvicted && !isKnown { found.append(buffer) }
        }
        for operation in operations[..<index].reversed() {
            if operation.kind == .unmapAll, let buffer = operation.buffer {
                unmapped.append(buffer)
            }
            guard operation.kind != .unmapAll, operation.kind != .prefetch else { continue }
            let covered = operation.address..<(operation.address + operation.range)
            guard pieces.contains(where: { $0.overlaps(covered) }) else { continue }
            if operation.kind == .map, let buffer = operation.buffer { add(buffer) }
            pieces = pieces.flatMap { $0.subtracting(covered) }
        }
        for piece in pieces {
            for buffer in evictedBuffers(piece.lowerBound, piece.upperBound - piece.lowerBound) {
                add(buffer)
            }
        }
        return found
    }

    /// The last step that can fail is arming; the VA tree is committed right after it.
    private func submit(
        _ body: BindJob, _ request: BindRequest, _ fenceUsage: FenceUsage,
        _ locking: inout ExecLocking, mappingsBefore: Int
    ) throws(DeviceError) -> (Job, BindResult) {
        let job = Job(body: body)
        for fence in request.inFences { job.addDependency(fence) }
        // Memory management waits for everybody, everybody else for memory management only.
        addDependencies(of: job, usage: fenceUsage == .kernel ? .bookkeep : .kernel, locking)
        let coverage = body.coverage
        pending.forEachDependency(of: coverage, queue: request.queue.id) {
            #if MUTANTS
                if Mutant.isPlanted("dependencyDropped") { return }
            #endif
            job.addDependency($0)
        }
        reserveSlots(1, locking)
        let fence: Fence
        do throws(DeviceError) {
            try failurePoint("arm the job")
            fence = try arm(job, on: request.queue, handle: request.queueHandle)
        } catch {
            space.rollback()
            body.discard()
            throw error
        }
        space.commit()
        device.counters.add(body.counts)
        // The job keeps what was unmapped until no entry and no TLB leads there any more.
        var released: [GPUVMObject] = []
        space.takeReleased(into: &released)
        #if MUTANTS
            if Mutant.isPlanted("framesFreedEarly") { released = [] }
        #endif
        body.hold(released)
        locking.addFence(
            fence, vm: space, privateUsage: fenceUsage, externalUsage: .bookkeep)
        usage.mappings.add(space.mappingCount - mappingsBefore, ordering: .relaxed)
        pending.append(queue: request.queue.id, fence: fence, coverage: coverage)
        remember(request.array.steps, unmappedByBuffer: body.unmappedByBuffer)
        return (job, BindResult(fence: fence, operations: body.takeRecords()))
    }

    /// For fault reports.
    func remember(_ steps: [BindStep], unmappedByBuffer: [VirtualRange]) {
        history.append(steps, unmappedByBuffer: unmappedByBuffer, time: Runtime.now())
    }

    func checkLocality(_ operation: BindStep, index: Int) throws(DeviceError) {
        guard operation.isLocal, operation.kind == .map,
            operation.ask({ $0.reservation === reservation }) != true, let buffer = operation.buffer
        else { return }
        throw .invalid("operation \(index): the buffer “\(buffer.name)” is local to another VM")
    }

    private func apply(
        _ operation: BindStep, index: Int, to plan: inout BindPlan, _ regions: inout SparseRegions,
        quota: Int, records: Bool
    ) throws(DeviceError) {
        let isMap = operation.kind == .map || operation.kind == .mapNull
        if isMap {
            // A map adds itself and, at worst, the second half of what it splits.
            guard space.mappingCount + 2 <= quota else {
                throw .quota(.mappings, limit: UInt64(max(0, quota)))
            }
        }
        try checkLocality(operation, index: index)
        let isSparse = try checkSparse(operation, index: index, in: regions)
        try failurePoint("plan operation \(index)")
        if operation.kind == .createSparse {
            return try createSparse(operation, index: index, plan: &plan, &regions)
        }
        do throws(GPUVMError) {
            switch operation.kind {
            case .createSparse: return
            case .map, .mapNull:
                try space.planMap(operation.map, into: &plan.ops)
            case .unmap, .removeSparse:
                try space.planUnmap(
                    address: operation.address, range: operation.range, into: &plan.ops)
            case .prefetch:
                guard space.isValid(address: operation.address, range: operation.range) else {
                    throw .invalidRange(address: operation.address, range: operation.range)
                }
                space.planPrefetch(
                    address: operation.address, range: operation.range, into: &plan.ops)
            case .unmapAll:
                guard let buffer = operation.buffer, space.vmBO(of: buffer) != nil else { return }
                try space.planUnmapObject(buffer, into: &plan.ops)
            }
        } catch {
            throw .bind(operation: index, error)
        }
        try failurePoint("reserve page tables for operation \(index)")
        if operation.kind == .removeSparse { _ = regions.remove(operation.addresses) }
        try plan.collect(
            operation, index: index, records: records, isSparse: isSparse,
            over: regions)
        try failurePoint("apply operation \(index)")
        guard operation.kind != .prefetch else { return }
        do throws(GPUVMError) {
            try space.apply(&plan.ops, carrying: .mappingKind)
        } catch {
            throw .bind(operation: index, error)
        }
        if operation.kind == .map, operation.ask({ $0.isEvicted }) ?? false,
            let buffer = operation.buffer
        {
            // A pair that is new does not know yet.
            space.setEvicted(true, object: buffer)
        }
    }
}

extension Range<UInt64> {
    /// What of it is not in `other`.
    fileprivate func subtracting(_ other: Range<UInt64>) -> [Range<UInt64>] {
        guard overlaps(other) else { return [self] }
        var pieces: [Range<UInt64>] = []
        if lowerBound < other.lowerBound { pieces.append(lowerBound..<other.lowerBound) }
        if other.upperBound < upperBound { pieces.append(other.upperBound..<upperBound) }
        return pieces
    }
}
