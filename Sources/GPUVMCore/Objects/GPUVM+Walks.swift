#if MUTANTS
    import Fencing
#endif

// Walks over the external-object and evict lists. The list lock is never held while the body runs:
// the body takes reservations. In immediate mode the lists change meanwhile: the walk takes each
// entry to a list of its own, and has a reference on it until the body returns, so that an entry
// whose last mapping goes is not destroyed under the walk (get-unless-zero).
//
// A reservation-protected list cannot change under the walk, and never moves.
extension GPUVM {
    /// An entry taken by a walk, with what keeps it and its object.
    private struct Walked {
        var id: UInt32
        var object: GPUVMObject
        var hasReference: Bool
    }

    /// Calls `body` for each evicted object until it throws, and takes the valid ones off the list.
    ///
    /// `body` makes the object resident and says so with ``GPUVMObject/setEvicted(_:)``. If it
    /// throws, the entries walked return to the head of the list in their order (a
    /// reservation-protected list never moves). What has lost its last hard reference is passed over
    /// (``GPUVMFlags/weakReferences``). The VM and all its objects are locked (see ``ExecLocking``).
    ///
    /// Source: `drm_gpuvm_validate`.
    public func validate(
        _ body: (GPUVMObject) throws(GPUVMError) -> Void
    ) throws(GPUVMError) {
        guard isReservationProtected else { return try walk(evictList, .evict, body) }
        try walkInPlace(evictList, .evict) { id, object throws(GPUVMError) in
            try body(object)
            listLock.withLock {
                if !record(id).pointee.isEvicted, record(id).pointee.evict.next != 0 {
                    _ = remove(id, from: .evict)
                }
            }
        }
    }

    /// Calls `body` for each external object until it throws. On a reservation-protected VM the
    /// objects marked as evicted join the evict list.
    ///
    /// The VM lock is held, and the VM's reservation on a reservation-protected VM. What has lost its
    /// last hard reference is passed over.
    ///
    /// Source: `drm_gpuvm_prepare_objects`.
    public func forEachExternalObject(
        _ body: (GPUVMObject) throws(GPUVMError) -> Void
    ) throws(GPUVMError) {
        guard isReservationProtected else { return try walk(externalList, .external, body) }
        try walkInPlace(externalList, .external) { id, object throws(GPUVMError) in
            try body(object)
            listLock.withLock {
                if record(id).pointee.isEvicted, record(id).pointee.evict.next == 0 {
                    insert(id, in: .evict, after: last(of: evictList, .evict))
                }
            }
        }
    }

    private func walk(
        _ list: UInt32, _ kind: ListKind, _ body: (GPUVMObject) throws(GPUVMError) -> Void
    ) throws(GPUVMError) {
        defer { restoreWalked(to: list, kind) }
        while let walked = takeNext(of: list, kind) {
            defer { giveBack(walked) }
            try body(walked.object)
        }
    }

    /// Moves the first entry to the walked list.
    private func takeNext(of list: UInt32, _ kind: ListKind) -> Walked? {
        listLock.withLock {
            while true {
                let id = first(of: list, kind)
                guard id != list else { return nil }
                _ = remove(id, from: kind)
                insert(id, in: kind, after: last(of: walkedList, kind))
                var takesReference = isImmediate
                #if MUTANTS
                    if Mutant.isPlanted("noGetUnlessZero") { takesReference = false }
                #endif
                if let walked = hold(id, takesReference: takesReference) { return walked }
            }
        }
    }

    /// Takes references on an entry and, in a weak VM, on its object, unless either is at its end.
    /// The list lock is held.
    private func hold(_ id: UInt32, takesReference: Bool) -> Walked? {
        guard record(id).pointee.referenceCount != 0,
            let object = record(id).pointee.object?.takeUnretainedValue(),
            !isWeak || object.tryAcquireHardReference()
        else { return nil }
        if takesReference { record(id).addReference() }
        return Walked(id: id, object: object, hasReference: takesReference)
    }

    private func giveBack(_ walked: Walked) {
        if walked.hasReference { putImmediately(walked.id, isJournaled: false) }
        if isWeak { walked.object.releaseHardReference() }
    }

    /// Puts the walked entries back in front of the rest.
    private func restoreWalked(to list: UInt32, _ kind: ListKind) {
        listLock.withLock {
            while last(of: walkedList, kind) != walkedList {
                let id = last(of: walkedList, kind)
                _ = remove(id, from: kind)
                insert(id, in: kind, after: list)
            }
        }
    }

    /// Zombies stay on the list until the deferred clean-up, which the VM lock keeps off.
    private func walkInPlace(
        _ list: UInt32, _ kind: ListKind,
        _ body: (UInt32, GPUVMObject) throws(GPUVMError) -> Void
    ) throws(GPUVMError) {
        var id = listLock.withLock { first(of: list, kind) }
        while id != list {
            // The body may take its own entry off the evict list.
            let (next, walked) = listLock.withLock {
                (entry(id, kind).pointee.next, hold(id, takesReference: false))
            }
            if let walked {
                defer { giveBack(walked) }
                try body(id, walked.object)
            }
            id = next
        }
    }
}
