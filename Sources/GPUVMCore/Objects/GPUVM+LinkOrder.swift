// The mappings of one object in this VM, in the order in which they were linked.
extension GPUVM {
    /// The first mapping of an object in link order, or 0.
    func firstMapping(of object: GPUVMObject) -> UInt32 {
        // Under the object's list lock its VM_BO cannot end.
        object.listLock.withLock {
            let pair = listLock.withLock {
                index.find(Unmanaged.passUnretained(object).toOpaque())
            }
            return pair == 0 ? 0 : record(pair).pointee.firstVA
        }
    }

    /// Appends a VA to its VM_BO's link order and takes a reference for it.
    @inline(__always)
    func link(_ id: UInt32, to vmBO: UInt32) {
        insertLink(id, vmBO, after: nil)
        journal.append(.vaLinked, id)
    }

    /// Takes a VA out of the link order and drops its reference.
    @inline(__always)
    func unlink(_ id: UInt32) {
        let vmBO = vas[id].vmBO
        if state.pointee.collectsReleased { collectReleased(vmBO) }
        if isImmediate {
            unlinkImmediately(id, vmBO)
        } else {
            takeOut(id, vmBO)
            journal.append(.vaUnlinked, id)
            putVMBO(vmBO)
        }
    }

    private func unlinkImmediately(_ id: UInt32, _ vmBO: UInt32) {
        let object = object(of: vmBO)
        object.listLock.withLock {
            takeOut(id, vmBO)
            journal.append(.vaUnlinked, id)
            listLock.withLock { dropReference(vmBO, object, isJournaled: true) }
        }
    }

    /// Links a VA behind another one (nil: last), and takes a reference.
    @inline(__always)
    func insertLink(_ id: UInt32, _ vmBO: UInt32, after previous: UInt32?) {
        guard isImmediate else {
            putIn(id, vmBO, after: previous)
            record(vmBO).addReference()
            return
        }
        object(of: vmBO).listLock.withLock {
            putIn(id, vmBO, after: previous)
            listLock.withLock { record(vmBO).addReference() }
        }
    }

    /// Undoes ``insertLink(_:_:after:)``: nobody dies of it.
    func removeLink(_ id: UInt32, _ vmBO: UInt32) {
        guard isImmediate else {
            takeOut(id, vmBO)
            record(vmBO).dropReferences()
            return
        }
        object(of: vmBO).listLock.withLock {
            takeOut(id, vmBO)
            listLock.withLock { record(vmBO).dropReferences() }
        }
    }

    @inline(__always)
    private func putIn(_ id: UInt32, _ vmBO: UInt32, after wanted: UInt32?) {
        let record = record(vmBO)
        let previous = wanted ?? record.pointee.lastVA
        let next = previous == 0 ? record.pointee.firstVA : vas[previous].next
        vas[id].previous = previous
        vas[id].next = next
        if previous == 0 { record.pointee.firstVA = id } else { vas[previous].next = id }
        if next == 0 { record.pointee.lastVA = id } else { vas[next].previous = id }
        record.addLinked()
    }

    /// Leaves `previous` in the VA's record, so that the removal can be undone.
    @inline(__always)
    private func takeOut(_ id: UInt32, _ vmBO: UInt32) {
        let record = record(vmBO)
        let (next, previous) = (vas[id].next, vas[id].previous)
        if previous == 0 { record.pointee.firstVA = next } else { vas[previous].next = next }
        if next == 0 { record.pointee.lastVA = previous } else { vas[next].previous = previous }
        record.dropLinked()
    }

    private func collectReleased(_ vmBO: UInt32) {
        let record = record(vmBO)
        guard record.pointee.releasedIn != state.pointee.transaction else { return }
        record.pointee.releasedIn = state.pointee.transaction
        released.append(object(of: vmBO))
    }
}
