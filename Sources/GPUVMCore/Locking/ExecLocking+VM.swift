import Fencing

// The forms of exec locking that find the objects in a VM.
extension ExecLocking {
    /// Locks the reservation of the VM and its private objects. 0 slots: locks only.
    public mutating func prepareVM(_ vm: GPUVM, slots: Int) throws(GPUVMError) {
        if slots > 0 {
            try prepare(vm.reservationObject, slots: slots)
        } else {
            try lock(vm.reservationObject)
        }
    }

    /// Locks an object that was found in a VM, with or without slots. One without hard references
    /// is passed over: it is about to go, and its mappings with it.
    private mutating func lockFound(_ object: GPUVMObject, _ slots: Int) throws(GPUVMError) {
        switch try acquire(object, .work, mustLive: true) {
        case .dead: return
        case .duplicate: if !ignoresDuplicates { throw .alreadyLocked }
        case .locked: break
        }
        if slots > 0 { try reserve(object, slots) }
    }

    /// Locks all external objects of the VM, in list order. 0 slots: locks only.
    ///
    /// On a reservation-protected VM those marked as evicted join the evict list; the VM's own
    /// reservation is locked before.
    public mutating func prepareExternalObjects(of vm: GPUVM, slots: Int) throws(GPUVMError) {
        if vm.isReservationProtected { vm.reservation.assertLocked() }
        try vm.forEachExternalObject { object throws(GPUVMError) in
            try lockFound(object, slots)
        }
    }

    /// Locks the given objects and makes room for `slots` fences each, at least 1.
    public mutating func prepare(
        _ objects: [GPUVMObject], slots: Int
    ) throws(GPUVMError) {
        for object in objects { try prepare(object, slots: slots) }
    }

    /// Locks the objects mapped in a range, by address; nothing is validated. 0 slots: locks only.
    ///
    /// An object that is mapped there twice needs duplicates to be ignored. Bytes.
    ///
    /// Source: `drm_gpuvm_prepare_range`.
    public mutating func prepareRange(
        of vm: GPUVM, address: UInt64, range: UInt64, slots: Int
    ) throws(GPUVMError) {
        try vm.forEachObject(in: address, range) { object throws(GPUVMError) in
            try lockFound(object, slots)
        }
    }

    /// Locks each *external* reservation behind the mappings in a range once, with room for `slots`
    /// fences (at least 1): what a bind of the range touches. Bytes.
    ///
    /// The VM's reservation is locked before, and with it all private objects. Duplicates are no
    /// error here, whatever ``ignoresDuplicates`` says. O(mappings).
    ///
    /// - Throws: As ``prepare(_:slots:)``, but never ``GPUVMError/alreadyLocked``.
    public mutating func prepareTouched(
        of vm: GPUVM, address: UInt64, range: UInt64, slots: Int
    ) throws(GPUVMError) {
        let own = vm.reservation
        own.assertLocked()
        let end = address &+ range
        var cursor = vm.firstOverlap(address, end &- 1)
        while cursor != .end, vm.tree.key(at: cursor) < end {
            let found = vm.va(vm.tree.id(at: cursor)).unmanagedObject
            cursor = vm.tree.next(cursor)
            // A few objects are found again and again.
            guard let found, !isKnownPrepared(found, slots: slots) else { continue }
            let object = found.takeUnretainedValue()
            // Locked already, and it only gets the slots that it lacks.
            if object.reservation === own || isPrepared(object, slots: slots) { continue }
            // What has lost its last hard reference too: its mappings are about to be changed, and
            // evictions of it wait for that (weak VMs). The pair keeps its memory.
            _ = try acquire(object, .work)
            try reserve(object, slots)
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
            case .remap(let remap): if let object = remap.va.object { try lockFound(object, 0) }
            case .unmap(let unmap): if let object = unmap.va.object { try lockFound(object, 0) }
            case .map, .prefetch: break
            }
        }
    }

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
}

extension GPUVM {
    /// Calls `body` for the object of each mapping that overlaps the range, by address. Bytes.
    @inline(__always)
    fileprivate func forEachObject(
        in address: UInt64, _ range: UInt64, _ body: (GPUVMObject) throws(GPUVMError) -> Void
    ) throws(GPUVMError) {
        let end = address &+ range
        var cursor = firstOverlap(address, end &- 1)
        while cursor != .end, tree.key(at: cursor) < end {
            if let object = va(tree.id(at: cursor)).object { try body(object) }
            cursor = tree.next(cursor)
        }
    }
}
