// The external-object and evict lists: circular, threaded through the VM_BOs from sentinels, so that
// an entry is taken off whichever list of its kind it is on. All under `listLock`.
extension GPUVM {
    enum ListKind {
        case external
        case evict
    }

    @inline(__always)
    func entry(
        _ id: UInt32, _ kind: ListKind
    ) -> UnsafeMutablePointer<VMBORecord.ListEntry> {
        let offset =
            switch kind {
            case .external: MemoryLayout<VMBORecord>.offset(of: \.external)
            case .evict: MemoryLayout<VMBORecord>.offset(of: \.evict)
            }
        // The offsets of stored properties of a struct are always known.
        return (UnsafeMutableRawPointer(record(id)) + (offset ?? 0))
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
                if let object = record(id).pointee.object {
                    objects.append(object.takeUnretainedValue())
                }
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

    // MARK: - Evicted marks

    /// Marks the object evicted, or resident again, in this VM only; nothing if it is not mapped
    /// here.
    ///
    /// The object's reservation is held; the VM lock is not needed. Source: `drm_gpuvm_bo_evict`.
    public func setEvicted(_ isEvicted: Bool, object: GPUVMObject) {
        object.reservation.assertLocked()
        listLock.withLock {
            let id = index.find(Unmanaged.passUnretained(object).toOpaque())
            if id != 0 { mark(id, isEvicted: isEvicted) }
        }
    }

    /// Whether the object is marked as evicted in this VM.
    ///
    /// The VM lock is not needed; the object's reservation is held by who relies on the answer.
    public func isEvicted(_ object: GPUVMObject) -> Bool {
        listLock.withLock {
            let id = index.find(Unmanaged.passUnretained(object).toOpaque())
            return id != 0 && record(id).pointee.isEvicted
        }
    }

    /// Marks a VM_BO that is on its object's list, whose lock is held.
    func setEvicted(_ isEvicted: Bool, _ record: UnsafeMutablePointer<VMBORecord>) {
        listLock.withLock { mark(UInt32(record - vmBOs.slots), isEvicted: isEvicted) }
    }

    /// On a reservation-protected VM an external one only gets the mark, because its own reservation
    /// does not guard the list. The list lock is held.
    private func mark(_ id: UInt32, isEvicted: Bool) {
        // A VM_BO that waits for its destruction by the commit is on no list.
        guard !record(id).pointee.isDead, let object = record(id).pointee.object else { return }
        record(id).pointee.isEvicted = isEvicted
        if isReservationProtected && isExternal(object.takeUnretainedValue()) { return }
        let isListed = record(id).pointee.evict.next != 0
        if isEvicted && !isListed {
            insert(id, in: .evict, after: last(of: evictList, .evict))
        } else if !isEvicted && isListed {
            _ = remove(id, from: .evict)
        }
    }
}
