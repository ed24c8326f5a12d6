// VM_BOs: found or created by the pair (VM, object), counted, linked to their VAs.
extension GPUVM {
    /// Takes a reference on the pair's VM_BO, created if there is none, and puts an external object
    /// on the list.
    ///
    /// Source: `drm_gpuvm_bo_obtain_locked`, `drm_gpuvm_bo_extobj_add`.
    func obtainVMBO(_ object: GPUVMObject) -> UInt32 {
        var id = findVMBO(object)
        if id == 0 {
            id = object.vmBO(in: self)
            if id == 0 { id = createVMBO(object) } else { reviveVMBO(id) }
        }
        vmBOs[id].referenceCount &+= 1
        if isExternal(object) {
            listLock.withLock {
                guard vmBOs[id].external.next == 0 else { return }
                insert(id, in: .external, after: last(of: externalList, .external))
                journal.append(.externalAdded, id)
            }
        }
        return id
    }

    private func createVMBO(_ object: GPUVMObject) -> UInt32 {
        let id = vmBOs.allocate(VMBORecord(object: Unmanaged.passRetained(object)))
        object.acquireHardReference()
        object.addBinding(self, id)
        state.pointee.vmBOCount += 1
        journal.append(.vmBOCreated, id)
        return id
    }

    /// A VM_BO that died in this transaction is the pair's only one still: it starts anew.
    private func reviveVMBO(_ id: UInt32) {
        journal.append(.vmBORevived, id, vmBOs[id].isEvicted ? 1 : 0)
        listLock.withLock {
            vmBOs[id].isEvicted = false
            vmBOs[id].isDead = false
        }
        state.pointee.vmBOCount += 1
    }

    /// Drops a reference; the last one makes the VM_BO die, or a zombie in immediate mode.
    ///
    /// Source: `drm_gpuvm_bo_put`, `drm_gpuvm_bo_put_deferred`.
    @inline(__always)
    func putVMBO(_ id: UInt32) {
        vmBOs[id].referenceCount &-= 1
        if vmBOs[id].referenceCount == 0 { endVMBO(id) }
    }

    private func endVMBO(_ id: UInt32) {
        state.pointee.recentObject = nil
        // A zombie of a reservation-protected VM stays on the lists: they belong to a reservation
        // that the signalling path cannot take.
        if !isImmediate || !isReservationProtected { leaveLists(id) }
        if isImmediate {
            guard let object = vmBOs[id].object else {
                preconditionFailure("a VM_BO has no object")
            }
            let index = object.takeUnretainedValue().removeBinding(self, id)
            vmBOs[id].nextZombie = state.pointee.firstZombie
            state.pointee.firstZombie = id
            journal.append(.vmBOZombie, id, UInt32(index))
        } else {
            state.pointee.vmBOCount -= 1
            journal.append(.vmBODied, id)
        }
    }

    private func leaveLists(_ id: UInt32) {
        listLock.withLock {
            vmBOs[id].isDead = !isImmediate
            if vmBOs[id].external.next != 0 {
                journal.append(.externalRemoved, id, remove(id, from: .external))
            }
            if vmBOs[id].evict.next != 0 {
                journal.append(.evictRemoved, id, remove(id, from: .evict))
            }
        }
    }

    /// Frees a VM_BO that is on no list and has no references.
    func destroyVMBO(_ id: UInt32) {
        guard let object = vmBOs[id].object else { preconditionFailure("a VM_BO has no object") }
        state.pointee.recentObject = nil
        vmBOs.free(id)
        object.takeUnretainedValue().releaseHardReference()
        object.release()
    }

    /// Frees the VM_BOs that lost their last reference on the signalling path (immediate mode).
    ///
    /// Outside of a transaction only. Source: `drm_gpuvm_bo_deferred_cleanup`.
    public func cleanUpDeferred() {
        precondition(!state.pointee.isInTransaction, "deferred clean-up inside a transaction")
        var id = state.pointee.firstZombie
        state.pointee.firstZombie = 0
        if id != 0 { state.pointee.generation &+= 1 }
        while id != 0 {
            let next = vmBOs[id].nextZombie
            listLock.withLock {
                if vmBOs[id].external.next != 0 { _ = remove(id, from: .external) }
                if vmBOs[id].evict.next != 0 { _ = remove(id, from: .evict) }
            }
            state.pointee.vmBOCount -= 1
            destroyVMBO(id)
            id = next
        }
    }

    // MARK: - Link order

    /// Appends a VA to its VM_BO's link order and takes a reference for it.
    @inline(__always)
    func link(_ id: UInt32, to vmBO: UInt32) {
        withLinkOrder(of: vmBO) { insertLink(id, vmBO, after: vmBOs[vmBO].lastVA) }
        journal.append(.vaLinked, id)
    }

    /// Takes a VA out of the link order and drops its reference.
    @inline(__always)
    func unlink(_ id: UInt32) {
        let vmBO = vas[id].vmBO
        withLinkOrder(of: vmBO) { removeLink(id, vmBO) }
        journal.append(.vaUnlinked, id)
        if state.pointee.collectsReleased { collectReleased(vmBO) }
        if vmBOs[vmBO].referenceCount == 0 { endVMBO(vmBO) }
    }

    /// In immediate mode the object's list lock guards the link order, else its reservation does.
    @inline(__always)
    func withLinkOrder(of vmBO: UInt32, _ body: () -> Void) {
        if isImmediate, let object = vmBOs[vmBO].object?.takeUnretainedValue() {
            object.listLock.withLock(body)
        } else {
            body()
        }
    }

    @inline(__always)
    func insertLink(_ id: UInt32, _ vmBO: UInt32, after previous: UInt32) {
        let next = previous == 0 ? vmBOs[vmBO].firstVA : vas[previous].next
        vas[id].previous = previous
        vas[id].next = next
        if previous == 0 { vmBOs[vmBO].firstVA = id } else { vas[previous].next = id }
        if next == 0 { vmBOs[vmBO].lastVA = id } else { vas[next].previous = id }
        vmBOs[vmBO].linkedCount &+= 1
        vmBOs[vmBO].referenceCount &+= 1
    }

    /// Leaves `previous` in the record, so that the removal can be undone.
    @inline(__always)
    func removeLink(_ id: UInt32, _ vmBO: UInt32) {
        let (next, previous) = (vas[id].next, vas[id].previous)
        if previous == 0 { vmBOs[vmBO].firstVA = next } else { vas[previous].next = next }
        if next == 0 { vmBOs[vmBO].lastVA = previous } else { vas[next].previous = previous }
        vmBOs[vmBO].linkedCount &-= 1
        vmBOs[vmBO].referenceCount &-= 1
    }

    private func collectReleased(_ vmBO: UInt32) {
        guard vmBOs[vmBO].releasedIn != state.pointee.transaction else { return }
        vmBOs[vmBO].releasedIn = state.pointee.transaction
        if let object = vmBOs[vmBO].object { released.append(object.takeUnretainedValue()) }
    }
}
