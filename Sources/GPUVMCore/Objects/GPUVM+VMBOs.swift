// VM_BOs from their creation to their end. They are unique by the pair (VM, object), and counted.
//
// In normal mode the VM lock guards the counts. In immediate mode pairs come and go on the
// fence-signalling path, while others obtain them and walk the lists: a pair enters and leaves its
// object's list, the index and the lists in one step, under the object's list lock and the VM's.
extension GPUVM {
    @inline(__always)
    func record(_ id: UInt32) -> UnsafeMutablePointer<VMBORecord> { vmBOs.slots + Int(id) }

    /// The object of a VM_BO on which the caller has a reference, or that nobody can destroy.
    @inline(__always)
    func object(of id: UInt32) -> GPUVMObject {
        guard let object = record(id).pointee.object else {
            preconditionFailure("a VM_BO has no object")
        }
        return object.takeUnretainedValue()
    }

    /// The VM_BO of a live pair, or 0. The VM lock is held.
    @inline(__always)
    func findVMBO(_ object: GPUVMObject) -> UInt32 {
        let pointer = Unmanaged.passUnretained(object).toOpaque()
        // Immediate mode: who has lost its last reference has left the index.
        if isImmediate { return listLock.withLock { index.find(pointer) } }
        let id = findEntered(pointer)
        return id == 0 || record(id).pointee.referenceCount == 0 ? 0 : id
    }

    /// The VM_BO of a pair, also of one that died in this transaction, or 0. Normal mode.
    @inline(__always)
    private func findEntered(_ pointer: UnsafeMutableRawPointer) -> UInt32 {
        if state.pointee.recentObject == pointer { return state.pointee.recentVMBO }
        let id = index.find(pointer)
        if id != 0 {
            state.pointee.recentObject = pointer
            state.pointee.recentVMBO = id
        }
        return id
    }

    // MARK: - Obtaining

    /// Takes a reference on the pair's VM_BO, created if there is none, and puts an external object
    /// on the list. In a change of the VM.
    ///
    /// Source: `drm_gpuvm_bo_obtain_locked`, `drm_gpuvm_bo_extobj_add`.
    @inline(__always)
    func obtainVMBO(_ object: GPUVMObject) -> UInt32 {
        if isImmediate { return obtainImmediately(object, preallocated: 0, isJournaled: true) }
        return obtainNormally(object, preallocated: 0)
    }

    func obtainNormally(_ object: GPUVMObject, preallocated: UInt32) -> UInt32 {
        var id = findEntered(Unmanaged.passUnretained(object).toOpaque())
        if id == 0 {
            id = preallocated
            if id == 0 { id = listLock.withLock { allocateVMBO(object) } }
            object.listLock.withLock { listLock.withLock { enter(id, object) } }
            journal.append(.vmBOCreated, id)
        } else if record(id).pointee.isDead {
            reviveVMBO(id)
        }
        record(id).addReference()
        // Only who has the VM lock changes the list, so that a look at it needs no other.
        if record(id).pointee.external.next == 0 && isExternal(object) {
            listLock.withLock {
                insert(id, in: .external, after: last(of: externalList, .external))
            }
            journal.append(.externalAdded, id)
        }
        return id
    }

    /// As ``obtainVMBO(_:)`` in immediate mode; a change of the VM journals it.
    func obtainImmediately(
        _ object: GPUVMObject, preallocated: UInt32, isJournaled: Bool
    ) -> UInt32 {
        object.listLock.withLock {
            listLock.withLock {
                var id = index.find(Unmanaged.passUnretained(object).toOpaque())
                if id == 0 {
                    id = preallocated == 0 ? allocateVMBO(object) : preallocated
                    enter(id, object)
                    if isJournaled { journal.append(.vmBOCreated, id) }
                }
                record(id).addReference()
                if record(id).pointee.external.next == 0 && isExternal(object) {
                    insert(id, in: .external, after: last(of: externalList, .external))
                    if isJournaled { journal.append(.externalAdded, id) }
                }
                return id
            }
        }
    }

    /// Creates a VM_BO that nobody finds yet. The VM's list lock is held; a slot is free.
    func allocateVMBO(_ object: GPUVMObject) -> UInt32 {
        if !isWeak { object.acquireHardReference() }
        pairState.pointee.vmBOCount = pairState.pointee.vmBOCount + 1
        return vmBOs.allocate(
            VMBORecord(
                object: Unmanaged.passRetained(object), vm: Unmanaged.passRetained(self)))
    }

    /// Makes a VM_BO the pair's. Both list locks are held.
    func enter(_ id: UInt32, _ object: GPUVMObject) {
        record(id).pointee.isEntered = true
        index.insert(id)
        object.append(record(id))
    }

    /// Undoes ``enter(_:_:)``. Both list locks are held.
    func leave(_ id: UInt32, _ object: GPUVMObject) {
        guard record(id).pointee.isEntered else { return }
        record(id).pointee.isEntered = false
        index.remove(id)
        object.remove(record(id))
    }

    /// A VM_BO that died in this transaction is the pair's only one still: it starts anew.
    private func reviveVMBO(_ id: UInt32) {
        journal.append(.vmBORevived, id, record(id).pointee.isEvicted ? 1 : 0)
        listLock.withLock {
            record(id).pointee.isEvicted = false
            record(id).pointee.isDead = false
        }
    }

    // MARK: - Putting

    /// Drops a reference in a change of the VM; the last one makes the VM_BO die, or a zombie in
    /// immediate mode.
    ///
    /// Source: `drm_gpuvm_bo_put`, `drm_gpuvm_bo_put_deferred`.
    @inline(__always)
    func putVMBO(_ id: UInt32) {
        if isImmediate { return putImmediately(id, isJournaled: true) }
        record(id).dropReferences()
        if record(id).pointee.referenceCount == 0 { endVMBO(id) }
    }

    /// As ``putVMBO(_:)`` in immediate mode; a change of the VM journals it.
    func putImmediately(_ id: UInt32, isJournaled: Bool) {
        let object = object(of: id)
        let isOrphan = object.listLock.withLock {
            listLock.withLock {
                dropReference(id, object, isJournaled: isJournaled)
                return pairState.pointee.isClosed
            }
        }
        // Nobody else cleans up after a VM that was closed.
        if isOrphan { cleanUpDeferred() }
    }

    /// Drops a reference; the last one makes the VM_BO a zombie. Both list locks are held.
    func dropReference(_ id: UInt32, _ object: GPUVMObject, isJournaled: Bool) {
        let record = record(id)
        record.dropReferences()
        guard record.pointee.referenceCount == 0 else { return }
        // A zombie of a reservation-protected VM stays on the lists: they belong to a reservation
        // that the signalling path cannot take.
        if !isReservationProtected { leaveLists(id, isJournaled: isJournaled) }
        leave(id, object)
        record.pointee.nextZombie = pairState.pointee.firstZombie
        pairState.pointee.firstZombie = id
        if isJournaled { journal.append(.vmBOZombie, id) }
    }

    private func endVMBO(_ id: UInt32) {
        state.pointee.recentObject = nil
        listLock.withLock {
            record(id).pointee.isDead = true
            leaveLists(id, isJournaled: true)
        }
        journal.append(.vmBODied, id)
    }

    /// Takes a VM_BO off the external-object and evict lists. The VM's list lock is held.
    func leaveLists(_ id: UInt32, isJournaled: Bool) {
        if record(id).pointee.external.next != 0 {
            let previous = remove(id, from: .external)
            if isJournaled { journal.append(.externalRemoved, id, previous) }
        }
        if record(id).pointee.evict.next != 0 {
            let previous = remove(id, from: .evict)
            if isJournaled { journal.append(.evictRemoved, id, previous) }
        }
    }

    /// Frees a VM_BO that nobody can find and that has no references.
    func destroyVMBO(_ id: UInt32) {
        if !isImmediate { state.pointee.recentObject = nil }
        let owned = listLock.withLock { freeSlot(id) }
        release(owned)
    }

    // MARK: - Deferred clean-up

    /// Frees the VM_BOs that lost their last reference on the signalling path (immediate mode).
    ///
    /// Not on the signalling path and with no lock of class `vmLists` or further in: the last hard
    /// reference of an object may go. In immediate mode without ``GPUVMFlags/reservationProtected``
    /// any thread may call it, without the VM lock, unless a transaction is open.
    ///
    /// Source: `drm_gpuvm_bo_deferred_cleanup`.
    public func cleanUpDeferred() {
        while let owned = takeZombie() { release(owned) }
    }

    private func takeZombie() -> Owned? {
        listLock.withLock {
            let id = pairState.pointee.firstZombie
            guard id != 0 else { return nil }
            pairState.pointee.firstZombie = record(id).pointee.nextZombie
            leaveLists(id, isJournaled: false)
            return freeSlot(id)
        }
    }

    /// What a VM_BO held, to be let go of outside of the list lock.
    private typealias Owned = (object: Unmanaged<GPUVMObject>, vm: Unmanaged<GPUVM>)

    private func freeSlot(_ id: UInt32) -> Owned {
        guard let object = record(id).pointee.object, let vm = record(id).pointee.vm else {
            preconditionFailure("a VM_BO was destroyed twice")
        }
        vmBOs.free(id)
        pairState.pointee.vmBOCount = pairState.pointee.vmBOCount - 1
        return (object, vm)
    }

    private func release(_ owned: Owned) {
        if !isWeak { owned.object.takeUnretainedValue().releaseHardReference() }
        owned.object.release()
        owned.vm.release()
    }
}
