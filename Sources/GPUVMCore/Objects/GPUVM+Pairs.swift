// The pairs of this VM and the objects mapped in it, for users.
extension GPUVM {
    /// The pair of this VM and `object`; nil if nothing maps it here.
    public func vmBO(of object: GPUVMObject) -> GPUVMBO? {
        let isExternal = isExternal(object)
        return object.listLock.withLock {
            listLock.withLock {
                let id = index.find(Unmanaged.passUnretained(object).toOpaque())
                guard id != 0, !record(id).pointee.isDead else { return nil }
                let record = record(id)
                return GPUVMBO(
                    id: GPUVMBO.ID(slot: id),
                    referenceCount: Int(record.pointee.referenceCount),
                    linkedCount: Int(record.pointee.linkedCount),
                    isEvicted: record.pointee.isEvicted, isExternal: isExternal)
            }
        }
    }

    /// The object of a pair on which the caller has a reference.
    public func object(of pair: GPUVMBO.ID) -> GPUVMObject { object(of: pair.slot) }

    /// Calls `body` for each mapping of `object` in this VM, in link order; the look-up is O(1).
    ///
    /// The object's reservation is held, the VM lock is not needed, so that eviction may call it. In
    /// immediate mode the body runs under the object's list lock (class `vaList`), because the
    /// signalling path changes the mappings without the reservation.
    @inline(__always)
    public func forEachMapping<Failure: Error>(
        of object: GPUVMObject, _ body: (GPUVA) throws(Failure) -> Void
    ) throws(Failure) {
        if isImmediate {
            try object.listLock.withLock { () throws(Failure) in
                try forEachLinked(of: object, body)
            }
        } else {
            try forEachLinked(of: object, body)
        }
    }

    @inline(__always)
    private func forEachLinked<Failure: Error>(
        of object: GPUVMObject, _ body: (GPUVA) throws(Failure) -> Void
    ) throws(Failure) {
        let pair = listLock.withLock { index.find(Unmanaged.passUnretained(object).toOpaque()) }
        guard pair != 0 else { return }
        var id = record(pair).pointee.firstVA
        while id != 0 {
            let next = vas[id].next
            try body(va(id))
            id = next
        }
    }

    // MARK: - References

    /// Takes a reference on the pair of this VM and `object`, which is created if there is none; an
    /// external object joins the list.
    ///
    /// Outside of a transaction; the VM lock is held, in normal mode the object's reservation too,
    /// and the caller keeps the object alive.
    ///
    /// - Returns: The reference; ``put(_:)`` it once.
    /// - Throws: ``GPUVMError/outOfMemory(needed:)``, ``GPUVMError/closed``.
    ///
    /// Source: `drm_gpuvm_bo_obtain_locked`.
    public func obtain(_ object: GPUVMObject) throws(GPUVMError) -> GPUVMBO.ID {
        try checkOpen()
        let isFull = listLock.withLock {
            vmBOs.availableCount == 0
                && index.find(Unmanaged.passUnretained(object).toOpaque()) == 0
        }
        if isFull { throw .outOfMemory(needed: 1) }
        return obtainOutside(object, preallocated: 0)
    }

    /// Allocates what obtaining the pair of this VM and `object` takes; nobody finds it yet.
    ///
    /// The VM lock is held, and the caller keeps the object alive.
    ///
    /// - Throws: ``GPUVMError/outOfMemory(needed:)``, ``GPUVMError/closed``.
    public func preallocate(_ object: GPUVMObject) throws(GPUVMError) -> PreallocatedVMBO {
        try checkOpen()
        let slot = listLock.withLock { vmBOs.availableCount == 0 ? 0 : allocateVMBO(object) }
        guard slot != 0 else { throw .outOfMemory(needed: 1) }
        return PreallocatedVMBO(vm: self, slot: slot)
    }

    /// As ``obtain(_:)``, but allocates nothing and cannot fail. If the pair exists, what was
    /// preallocated is given back.
    ///
    /// In immediate mode this may run on the fence-signalling path, without the VM lock.
    ///
    /// Source: `drm_gpuvm_bo_obtain_prealloc`.
    public func obtain(_ preallocated: consuming PreallocatedVMBO) -> GPUVMBO.ID {
        precondition(preallocated.vm === self, "preallocated for another VM")
        let slot = preallocated.slot
        preallocated.slot = 0
        let pair = obtainOutside(object(of: slot), preallocated: slot)
        // The pair that was there keeps the object and the VM.
        if pair.slot != slot { destroyVMBO(slot) }
        return pair
    }

    private func obtainOutside(_ object: GPUVMObject, preallocated: UInt32) -> GPUVMBO.ID {
        if isImmediate {
            return GPUVMBO.ID(
                slot: obtainImmediately(object, preallocated: preallocated, isJournaled: false))
        }
        return GPUVMBO.ID(
            slot: changePairs { obtainNormally(object, preallocated: preallocated) })
    }

    /// Drops a reference that was obtained. The last one ends the pair, in immediate mode with the
    /// next ``cleanUpDeferred()``.
    ///
    /// Normal mode: outside of a transaction, with the VM lock and the object's reservation held.
    /// Immediate mode: any thread, also on the fence-signalling path until the VM is closed.
    ///
    /// Source: `drm_gpuvm_bo_put`, `drm_gpuvm_bo_put_deferred`.
    public func put(_ pair: GPUVMBO.ID) {
        if isImmediate || isClosed {
            putImmediately(pair.slot, isJournaled: false)
        } else {
            changePairs { putVMBO(pair.slot) }
        }
    }

    /// A change of pairs alone: what was planned stays valid.
    private func changePairs<Result>(_ body: () -> Result) -> Result {
        precondition(!isInTransaction, "a pair is obtained or put inside a transaction")
        openTransaction()
        defer { endChange() }
        return body()
    }
}
