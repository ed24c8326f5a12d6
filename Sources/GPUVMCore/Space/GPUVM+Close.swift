extension GPUVM {
    /// Unmaps everything and drops every reference that the VM holds; later requests throw
    /// ``GPUVMError/closed``, look-ups find nothing.
    ///
    /// It takes the reservations itself, one at a time: the VM's for all private objects, then each
    /// external object's, so that who holds one may walk the object's mappings meanwhile. Pairs that
    /// somebody has obtained stay until they are put. The last hard references go outside of the
    /// reservations, under the VM lock.
    ///
    /// The caller holds the VM lock, no reservation, and has stopped the engines and the jobs that
    /// change the VM. O(objects), whatever the number of mappings. A second call does nothing.
    public func close() {
        precondition(!state.pointee.isInTransaction, "a VM is closed inside a transaction")
        guard !pairState.pointee.isClosed else { return }
        cleanUpDeferred()
        state.pointee.recentObject = nil
        let context = reservation.lock()
        forEachPair(external: false) { detach($0) }
        reservation.unlock(context)
        forEachPair(external: true) { id in
            let reservation = object(of: id).reservation
            let context = reservation.lock()
            detach(id)
            reservation.unlock(context)
        }
        committedVAs.subtract(isImmediate ? state.pointee.vaCount : 0, ordering: .relaxed)
        tree.reset()
        vas.reset()
        state.pointee.vaCount = 0
        state.pointee.reservedVA = 0
        state.pointee.generation &+= 1
        released.removeAll()
        listLock.withLock { pairState.pointee.isClosed = true }
        cleanUpDeferred()
    }

    /// Calls `body`, which detaches it, for each pair of the one kind or the other, with a reference.
    private func forEachPair(external: Bool, _ body: (UInt32) -> Void) {
        var id: UInt32 = 1
        while id < vmBOs.end {
            // In immediate mode pairs whose last reference others put go meanwhile.
            let isFound = listLock.withLock {
                guard record(id).pointee.isEntered, isExternal(object(of: id)) == external else {
                    return false
                }
                record(id).addReference()
                return true
            }
            if isFound { body(id) }
            id += 1
        }
    }

    /// Takes all mappings off an object's list, the VM_BO off every list, and drops the caller's
    /// reference.
    private func detach(_ id: UInt32) {
        let object = object(of: id)
        object.listLock.withLock {
            listLock.withLock {
                let record = record(id)
                record.dropReferences(record.pointee.linkedCount)
                record.pointee.linkedCount = 0
                record.pointee.firstVA = 0
                record.pointee.lastVA = 0
                leave(id, object)
                leaveLists(id, isJournaled: false)
                dropReference(id, object, isJournaled: false)
            }
        }
    }
}
