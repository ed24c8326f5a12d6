import Fencing
import Memory
import Scheduling

extension Client {
    /// Carries out an array of bind operations on a VM: all of them, or none.
    ///
    /// The VA space shows the result when this returns; the page tables show it when the fence
    /// signals. Zero operations carry out only the synchronisation.
    ///
    /// - Parameters:
    ///   - queue: A bind queue of that VM; 0: the VM's own.
    ///   - waits: Points that must have been submitted; they gate the first operation.
    ///   - signals: Points that the fence becomes.
    ///   - recordsOperations: Whether the op lists are returned.
    /// - Throws: EINVAL, ENOENT (a handle, a closed or banned VM), ENOSPC and ENOMEM, ECANCELED for a
    ///   banned queue, EAGAIN for the quota of jobs; then nothing has changed.
    public func bind(
        vm vmHandle: UInt32, queue queueHandle: UInt32 = 0, operations: [BindOperation],
        waits: [SyncPoint] = [], signals: [SyncPoint] = [], recordsOperations: Bool = false
    ) throws(DeviceError) -> BindResult {
        let vm = try vm(vmHandle)
        var jobs = vm.defaultBindQueue
        var queueID: UInt32 = 0
        if queueHandle != 0 {
            let queue = try queue(queueHandle)
            guard queue.engineClass == .bind, queue.vm === vm else {
                throw .invalid(
                    "queue \(queueHandle) is no bind queue of VM \(vmHandle)")
            }
            jobs = queue.jobs
            queueID = queue.id
        }
        let array = BindArray(operations)
        try DeviceVM.check(array)
        try checkJobQuota(operations: array.count)
        let inFences = try resolve(waits: waits)
        let outPoints = try prepare(signals: signals)
        let bind = try meetBindRules(in: vm, queue: queueID, inFences) {
            inFences throws(DeviceError) in
            let request = DeviceVM.BindRequest(
                array: array, queue: jobs, queueHandle: queueHandle,
                inFences: inFences, recordsOperations: recordsOperations,
                tableQuota: freeTables)
            return try carryOut(request, on: vm, queue: queueID, outPoints)
        }
        bind.start()
        return bind.result
    }

    /// As ``bind(vm:queue:operations:waits:signals:recordsOperations:)`` on the VM's own queue, the
    /// fences and points resolved by the caller, who starts it.
    func accept(
        _ array: BindArray, in vm: DeviceVM, inFences: [Fence],
        outPoints: [PreparedSignal]
    ) throws(DeviceError) -> AcceptedBind {
        try DeviceVM.check(array)
        try checkJobQuota(operations: array.count)
        let request = DeviceVM.BindRequest(
            array: array, queue: vm.defaultBindQueue, queueHandle: 0,
            inFences: inFences, recordsOperations: false, tableQuota: freeTables)
        return try carryOut(request, on: vm, queue: 0, outPoints)
    }

    private func carryOut(
        _ request: DeviceVM.BindRequest, on vm: DeviceVM, queue: UInt32,
        _ outPoints: [PreparedSignal]
    ) throws(DeviceError) -> AcceptedBind {
        defer { device.unmapUnheldBuffers() }
        try hold(request.array.buffers)
        defer { for buffer in request.array.buffers { buffer.releaseHardReference() } }
        let bound = try vm.bind(request, for: self) { publish($0, to: outPoints) }
        remember(bound.job, bound.result.fence, engineClass: .bind, queue: queue)
        return bound
    }

    /// Takes a hard reference on each buffer that an array names: they live at least until they are
    /// mapped.
    ///
    /// - Throws: ENOENT for a buffer that has lost its last one.
    private func hold(_ buffers: [BufferObject]) throws(DeviceError) {
        for index in buffers.indices where !buffers[index].tryAcquireHardReference() {
            for held in buffers[..<index] { held.releaseHardReference() }
            throw .noSuch(.buffer, handle: handle(ofBufferWithID: buffers[index].id) ?? 0)
        }
    }

    /// How many page-table pages the quota has left.
    var freeTables: Int {
        allVMs.reduce(quotas.tablePages - usage.tablesReserved.load(ordering: .relaxed)) {
            $0 - $1.vm.table.heldPages
        }
    }
}
