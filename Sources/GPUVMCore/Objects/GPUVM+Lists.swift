// The external-object and evict lists: circular, threaded through the VM_BOs from sentinels, so that
// an entry is taken off whichever list of its kind it is on. All under `listLock`.
extension GPUVM {
    enum ListKind {
        case external
        case evict
    }

    @inline(__always)
    private func entry(
        _ id: UInt32, _ kind: ListKind
    ) -> UnsafeMutablePointer<VMBORecord.ListEntry> {
        let offset =
            switch kind {
            case .external: MemoryLayout<VMBORecord>.offset(of: \.external)
            case .evict: MemoryLayout<VMBORecord>.offset(of: \.evict)
            }
        // The offsets of stored properties of a struct are always known.
        return (UnsafeMutableRawPointer(vmBOs.slots + Int(id)) + (offset ?? 0))
            .assumingMemoryBound(to: VMBORecord.ListEntry.self)
    }

    func first(of sentinel: UInt32, _ kind: ListKind) -> UInt32 {
        entry(sentinel, kind).pointee.next
    }

    func last(of sentinel: UInt32, _ kind: ListKind) -> UInt32 {
        entry(sentinel, kind).pointee.previous
    }

    func insert(_ id: UInt32, in kind: ListKind, after previous: UInt32) {
        let next = entry(previous, kind).pointee.next
        entry(id, kind).pointee = VMBORecord.ListEntry(next: next, previous: previous)
        entry(previous, kind).pointee.next = id
        entry(next, kind).pointee.previous = id
    }

    /// Returns the entry that stood in front of it.
    func remove(_ id: UInt32, from kind: ListKind) -> UInt32 {
        let old = entry(id, kind).pointee
        entry(old.previous, kind).pointee.next = old.next
        entry(old.next, kind).pointee.previous = old.previous
        entry(id, kind).pointee = VMBORecord.ListEntry()
        return old.previous
    }

    /// Puts an entry back behind `previous`; at the end if that has left the list meanwhile (an
    /// evict list changes without the VM lock).
    func reinsert(_ id: UInt32, in kind: ListKind, after previous: UInt32, list: UInt32) {
        guard entry(id, kind).pointee.next == 0 else { return }
        let isListed = entry(previous, kind).pointee.next != 0
        insert(id, in: kind, after: isListed ? previous : last(of: list, kind))
    }

    private func objects(of sentinel: UInt32, _ kind: ListKind) -> [GPUVMObject] {
        listLock.withLock {
            var objects: [GPUVMObject] = []
            var id = first(of: sentinel, kind)
            while id != sentinel {
                if let object = vmBOs[id].object { objects.append(object.takeUnretainedValue()) }
                id = entry(id, kind).pointee.next
            }
            return objects
        }
    }

    /// The external objects in list order; an object can be there more than once while zombies of it
    /// wait for the deferred clean-up.
    public var externalObjects: [GPUVMObject] { objects(of: externalList, .external) }

    /// The objects on the evict list, in list order.
    public var evictedObjects: [GPUVMObject] { objects(of: evictList, .evict) }

    // MARK: - Eviction and validation

    /// Marks a VM_BO; on a reservation-protected VM an external one only gets the mark, because its
    /// own reservation does not guard the list.
    ///
    /// Source: `drm_gpuvm_bo_evict`.
    func setEvicted(_ isEvicted: Bool, vmBO id: UInt32) {
        listLock.withLock {
            // A VM_BO that waits for its destruction by the commit is on no list.
            guard !vmBOs[id].isDead, let object = vmBOs[id].object else { return }
            vmBOs[id].isEvicted = isEvicted
            if isReservationProtected && isExternal(object.takeUnretainedValue()) { return }
            let isListed = vmBOs[id].evict.next != 0
            if isEvicted && !isListed {
                insert(id, in: .evict, after: last(of: evictList, .evict))
            } else if !isEvicted && isListed {
                _ = remove(id, from: .evict)
            }
        }
    }

    /// Calls `body` for each evicted object until it throws, and takes the valid ones off the list.
    ///
    /// `body` makes the object resident and says so with ``GPUVMObject/setEvicted(_:)``. If it
    /// throws, the entries walked return to the head of the list in their order (a
    /// reservation-protected list never moves). The VM and all its objects are locked (see
    /// ``ExecLocking``).
    ///
    /// Source: `drm_gpuvm_validate`.
    public func validate(
        _ body: (GPUVMObject) throws(GPUVMError) -> Void
    ) throws(GPUVMError) {
        if isReservationProtected {
            try validateInPlace(body)
        } else {
            defer { restoreWalked(walkedList, to: evictList, .evict) }
            while let object = takeNext(of: evictList, .evict) { try body(object) }
        }
    }

    private func validateInPlace(
        _ body: (GPUVMObject) throws(GPUVMError) -> Void
    ) throws(GPUVMError) {
        var id = listLock.withLock { first(of: evictList, .evict) }
        while id != evictList {
            let next = listLock.withLock { entry(id, .evict).pointee.next }
            // Zombies stay on the list until the deferred clean-up.
            if vmBOs[id].referenceCount != 0, let object = vmBOs[id].object {
                try body(object.takeUnretainedValue())
                listLock.withLock {
                    if !vmBOs[id].isEvicted, vmBOs[id].evict.next != 0 {
                        _ = remove(id, from: .evict)
                    }
                }
            }
            id = next
        }
    }

    /// Moves the first entry to the walked list, so that the list may change while it is walked.
    func takeNext(of list: UInt32, _ kind: ListKind) -> GPUVMObject? {
        listLock.withLock {
            while true {
                let id = first(of: list, kind)
                guard id != list else { return nil }
                _ = remove(id, from: kind)
                guard vmBOs[id].referenceCount != 0, let object = vmBOs[id].object else { continue }
                insert(id, in: kind, after: last(of: walkedList, kind))
                return object.takeUnretainedValue()
            }
        }
    }

    /// Puts the walked entries back in front of the rest.
    func restoreWalked(_ walked: UInt32, to list: UInt32, _ kind: ListKind) {
        listLock.withLock {
            while last(of: walked, kind) != walked {
                let id = last(of: walked, kind)
                _ = remove(id, from: kind)
                insert(id, in: kind, after: list)
            }
        }
    }

    /// Calls `body` for each external object until it throws. On a reservation-protected VM the
    /// objects marked as evicted join the evict list.
    ///
    /// Source: `drm_gpuvm_prepare_objects`.
    func forEachExternalObject(
        _ body: (GPUVMObject) throws(GPUVMError) -> Void
    ) throws(GPUVMError) {
        guard isReservationProtected else {
            defer { restoreWalked(walkedList, to: externalList, .external) }
            while let object = takeNext(of: externalList, .external) { try body(object) }
            return
        }
        var id = listLock.withLock { first(of: externalList, .external) }
        while id != externalList {
            if vmBOs[id].referenceCount != 0, let object = vmBOs[id].object {
                try body(object.takeUnretainedValue())
                listLock.withLock {
                    if vmBOs[id].isEvicted, vmBOs[id].evict.next == 0 {
                        insert(id, in: .evict, after: last(of: evictList, .evict))
                    }
                }
            }
            id = listLock.withLock { entry(id, .external).pointee.next }
        }
    }
}
