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
        try DeviceVM.check(operations)
        try checkJobQuota(operations: operations.count)
        let inFences = try resolve(waits: waits)
        let outPoints = try prepare(signals: signals)
        let request = DeviceVM.BindRequest(
            operations: operations, queue: jobs, queueHandle: queueHandle, inFences: inFences,
            recordsOperations: recordsOperations, tableQuota: freeTables)
        return try carryOut(request, on: vm, queue: queueID, outPoints)
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
        return try carryOut(request, on: vm, queue: 0, outPoints).fence
    }

    private func carryOut(
        _ request: DeviceVM.BindRequest, on vm: DeviceVM, queue: UInt32,
        _ outPoints: [PreparedSignal]
    ) throws(DeviceError) -> BindResult {
        defer { device.unmapUnheldBuffers() }
        let held = try hold(request.operations)
        defer { for buffer in held { buffer.releaseHardReference() } }
        let bound = try vm.bind(request, for: self) { publish($0, to: outPoints) }
        remember(bound.job, bound.result.fence, engineClass: .bind, queue: queue)
        return bound.result
    }

    /// Hard references on the buffers that the array maps, which live at least until they are mapped.
    ///
    /// - Throws: ENOENT for a buffer that has lost its last one.
    private func hold(_ operations: [BindOperation]) throws(DeviceError) -> [BufferObject] {
        var held: [BufferObject] = []
        // Arrays name the same few buffers again and again.
        var recent = InlineArray<8, ObjectIdentifier?>(repeating: nil)
        for index in operations.indices where operations[index].kind == .map {
            guard let buffer = operations[index].buffer else { continue }
            let identifier = ObjectIdentifier(buffer)
            if recent.indices.contains(where: { recent[$0] == identifier }) { continue }
            recent[held.count % recent.count] = identifier
            guard buffer.tryAcquireHardReference() else {
                for buffer in held { buffer.releaseHardReference() }
                throw .noSuch(.buffer, handle: handle(ofBufferWithID: buffer.id) ?? 0)
            }
            held.append(buffer)
        }
        return held
    }

    /// How many page-table pages the quota has left.
    var freeTables: Int {
        allVMs.reduce(quotas.tablePages - usage.tablesReserved.load(ordering: .relaxed)) {
            $0 - $1.vm.table.heldPages
        }
    }
}
