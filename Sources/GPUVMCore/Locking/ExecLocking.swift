import Fencing

/// Locks the reservations that a submission needs, with back-off, and holds them until it ends.
///
/// ```swift
/// var exec = ExecLocking(ignoresDuplicates: true)
/// try exec.untilAllLocked { exec throws(GPUVMError) in
///     try exec.prepareVM(vm, slots: 1)
///     try exec.prepareExternalObjects(of: vm, slots: 1)
/// }
/// try vm.validate { … }
/// exec.addFence(fence, vm: vm, privateUsage: .bookkeep, externalUsage: .write)
/// exec.unlockAll()
/// ```
///
/// Source: drivers/gpu/drm/drm_exec.c, `drm_gpuvm_exec_lock` and its siblings.
///
/// Threading: one thread, with the VM lock of every VM that is passed in. Unlocks in `deinit`.
public struct ExecLocking: ~Copyable {
    /// Locking a reservation again is no error.
    public let ignoresDuplicates: Bool
    /// The objects whose reservations were locked, in that order.
    public private(set) var lockedObjects: [GPUVMObject] = []
    private let context = AcquireContext()
    private var contended: GPUVMObject?
    /// Locked by the slow path; the attempt meets it once more.
    private var prelocked: GPUVMObject?

    /// Starts an attempt that holds nothing.
    public init(ignoresDuplicates: Bool = false) {
        self.ignoresDuplicates = ignoresDuplicates
    }

    deinit {
        for object in lockedObjects.reversed() { object.reservation.unlock(context) }
    }

    /// Runs `body` until it meets no contention: on one, everything is unlocked, the contended
    /// reservation is waited for, and `body` starts over. If it fails, everything is unlocked.
    ///
    /// - Throws: What `body` throws, but for ``GPUVMError/contended``.
    public mutating func untilAllLocked(
        _ body: (inout ExecLocking) throws(GPUVMError) -> Void
    ) throws(GPUVMError) {
        while true {
            if let contended {
                self.contended = nil
                contended.reservation.lockSlow(context)
                lockedObjects.append(contended)
                prelocked = contended
            }
            do {
                try body(&self)
                // What the last attempt needed and this one does not stays locked, as in the kernel.
                prelocked = nil
                return
            } catch .contended where contended != nil {
                let wanted = contended
                unlockAll()
                contended = wanted
            } catch {
                unlockAll()
                throw error
            }
        }
    }

    /// Gives up everything that is locked.
    public mutating func unlockAll() {
        for object in lockedObjects.reversed() { object.reservation.unlock(context) }
        lockedObjects.removeAll(keepingCapacity: true)
        contended = nil
        prelocked = nil
    }

    // MARK: - One object

    /// Locks an object's reservation.
    ///
    /// - Throws: ``GPUVMError/contended`` (leave the body of ``untilAllLocked(_:)`` with it),
    ///   ``GPUVMError/alreadyLocked`` unless duplicates are ignored.
    public mutating func lock(_ object: GPUVMObject) throws(GPUVMError) {
        if prelocked === object {
            prelocked = nil
            return
        }
        do {
            try object.reservation.lock(context)
            lockedObjects.append(object)
        } catch .deadlock {
            contended = object
            throw .contended
        } catch {
            if error == .alreadyLocked && ignoresDuplicates { return }
            throw GPUVMError(error)
        }
    }

    /// Locks an object's reservation and makes room for `slots` fences.
    ///
    /// - Throws: As ``lock(_:)``; ``GPUVMError/noFenceSlots`` for 0 slots, and the object is
    ///   unlocked again.
    public mutating func prepare(_ object: GPUVMObject, slots: Int) throws(GPUVMError) {
        try lock(object)
        do {
            try object.reservation.reserve(slots)
        } catch {
            unlock(object)
            throw GPUVMError(error)
        }
    }

    private mutating func unlock(_ object: GPUVMObject) {
        guard let index = lockedObjects.lastIndex(where: { $0 === object }) else { return }
        lockedObjects.remove(at: index)
        object.reservation.unlock(context)
    }

    private mutating func lockOrPrepare(
        _ object: GPUVMObject, _ slots: Int
    ) throws(GPUVMError) {
        if slots > 0 { try prepare(object, slots: slots) } else { try lock(object) }
    }

    // MARK: - Many objects

    /// Locks the reservation of the VM and its private objects. 0 slots: locks only.
    public mutating func prepareVM(_ vm: GPUVM, slots: Int) throws(GPUVMError) {
        try lockOrPrepare(vm.reservationObject, slots)
    }

    /// Locks all external objects of the VM, in list order. 0 slots: locks only.
    ///
    /// On a reservation-protected VM those marked as evicted join the evict list; the VM's own
    /// reservation is locked before.
    public mutating func prepareExternalObjects(of vm: GPUVM, slots: Int) throws(GPUVMError) {
        if vm.isReservationProtected { vm.reservation.assertLocked() }
        try vm.forEachExternalObject { object throws(GPUVMError) in
            try lockOrPrepare(object, slots)
        }
    }

    /// Locks the given objects and makes room for `slots` fences each, at least 1.
    public mutating func prepare(
        _ objects: [GPUVMObject], slots: Int
    ) throws(GPUVMError) {
        for object in objects { try prepare(object, slots: slots) }
    }

    /// Locks the objects mapped in a range, by address; nothing is validated. 0 slots: locks only.
    public mutating func prepareRange(
        of vm: GPUVM, address: UInt64, range: UInt64, slots: Int
    ) throws(GPUVMError) {
        let end = address &+ range
        var cursor = vm.firstOverlap(address, end &- 1)
        while cursor != .end, vm.tree.key(at: cursor) < end {
            if let object = vm.va(vm.tree.id(at: cursor)).object {
                try lockOrPrepare(object, slots)
            }
            cursor = vm.tree.next(cursor)
        }
    }

    /// Locks what a map request would touch: its object, prepared for `slots` fences, then the
    /// objects of the mappings that it replaces or cuts.
    ///
    /// The request's object is locked *before* the range is validated, and stays so after
    /// ``GPUVMError/invalidRange(address:range:)``. For arrays of operations duplicates must be
    /// ignored; an earlier operation can make a later plan differ, but not touch other objects.
    ///
    /// Source: `drm_gpuvm_sm_map_exec_lock`.
    public mutating func prepareMap(
        _ request: MapRequest, in vm: GPUVM, slots: Int, planningInto ops: inout OpList
    ) throws(GPUVMError) {
        if let object = request.object { try prepare(object, slots: slots) }
        try vm.planMap(request, into: &ops)
        try lockObjects(of: ops)
    }

    /// Locks the objects of the mappings that an unmap request removes or cuts. Bytes.
    ///
    /// Source: `drm_gpuvm_sm_unmap_exec_lock`.
    public mutating func prepareUnmap(
        address: UInt64, range: UInt64, in vm: GPUVM, planningInto ops: inout OpList
    ) throws(GPUVMError) {
        try vm.planUnmap(address: address, range: range, into: &ops)
        try lockObjects(of: ops)
    }

    private mutating func lockObjects(of ops: borrowing OpList) throws(GPUVMError) {
        for index in 0..<ops.count {
            switch ops[index] {
            case .remap(let remap): if let object = remap.va.object { try lock(object) }
            case .unmap(let unmap): if let object = unmap.va.object { try lock(object) }
            case .map, .prefetch: break
            }
        }
    }

    // MARK: - The whole of a VM

    /// Locks the VM, its external objects, then `extras` (these need at least 1 slot), with
    /// back-off.
    ///
    /// Source: `drm_gpuvm_exec_lock_array`.
    public mutating func lockVM(
        _ vm: GPUVM, extras: [GPUVMObject] = [], slots: Int
    ) throws(GPUVMError) {
        try untilAllLocked { exec throws(GPUVMError) in
            try exec.prepareVM(vm, slots: slots)
            try exec.prepareExternalObjects(of: vm, slots: slots)
            try exec.prepare(extras, slots: slots)
        }
    }

    /// Adds a fence to every locked object: with `privateUsage` where it shares the VM's
    /// reservation, else with `externalUsage`.
    ///
    /// Source: `drm_gpuvm_resv_add_fence`.
    public func addFence(
        _ fence: Fence, vm: GPUVM, privateUsage: FenceUsage, externalUsage: FenceUsage
    ) {
        for object in lockedObjects {
            object.reservation.add(
                fence, usage: vm.isExternal(object) ? externalUsage : privateUsage)
        }
    }
}
