// Applying: the ops of a plan, in the order in which drivers carry them out (it decides the link
// order and the reference counts).
extension GPUVM {
    /// Carries the ops out, in order, and empties the list.
    ///
    /// Outside of a transaction the change is final; inside it can be rolled back. Nothing has
    /// changed if it throws: room for all of the list is made sure of first. A list of unmap ops
    /// needs none.
    ///
    /// - Parameters:
    ///   - ops: Planned for the VM as it is: a VM that changed since is a programming error.
    ///   - carried: Flags of an old mapping that the pieces of a remap inherit; the kernel's rule is
    ///     none.
    /// - Returns: How many insertions were refused: possible for mappings of zero range only.
    /// - Throws: ``GPUVMError/outOfMemory(needed:)``, ``GPUVMError/closed``.
    @discardableResult
    public func apply(
        _ ops: inout OpList, carrying carried: GPUVAFlags = []
    ) throws(GPUVMError) -> Int {
        try checkOpen()
        precondition(
            ops.generation == state.pointee.generation, "ops planned for the VM as it was earlier")
        if isImmediate || vas.availableCount < 2 * ops.count || vmBOs.availableCount < ops.count {
            try checkCapacity(for: ops)
        }
        defer { releaseHeldVAs() }
        beginChange()
        var refused = 0
        var replaced: UInt32 = 0
        for index in 0..<ops.count {
            switch ops[index] {
            case .map(let map):
                refused += applyMap(map, replacing: replaced) == 0 ? 1 : 0
                replaced = 0
            case .remap(let remap): refused += applyRemap(remap, carrying: carried)
            case .unmap(let unmap):
                if ops.isReplacement(at: index) {
                    replaced = unmap.va.id
                    unlinkIfLinked(replaced)
                } else {
                    applyUnmap(unmap.va.id)
                }
            case .prefetch: break
            }
        }
        ops.removeAll()
        endChange()
        return refused
    }

    /// Inserts one mapping that must overlap nothing.
    ///
    /// - Throws: ``GPUVMError/invalidRange(address:range:)``,
    ///   ``GPUVMError/exists(address:range:)``, ``GPUVMError/outOfMemory(needed:)``,
    ///   ``GPUVMError/closed``.
    ///
    /// Source: `drm_gpuva_insert`.
    @discardableResult
    public func insert(_ request: MapRequest) throws(GPUVMError) -> GPUVA {
        try checkOpen()
        try checkCapacity(vas: 1, vmBOs: 1)
        defer { releaseHeldVAs() }
        beginChange()
        defer { endChange() }
        let id = applyMap(request.op, isChecked: true)
        if id != 0 { return va(id) }
        if isValid(address: request.address, range: request.range) {
            throw .exists(address: request.address, range: request.range)
        }
        throw .invalidRange(address: request.address, range: request.range)
    }

    /// Removes the mapping of exactly this range. Bytes.
    ///
    /// - Returns: False, and a warning is counted, for the reserved node, which stays.
    /// - Throws: ``GPUVMError/noEntry(address:range:)``, ``GPUVMError/closed``.
    ///
    /// Source: `drm_gpuva_remove`.
    @discardableResult
    public func remove(address: UInt64, range: UInt64) throws(GPUVMError) -> Bool {
        try checkOpen()
        guard let va = find(address: address, range: range) else {
            throw .noEntry(address: address, range: range)
        }
        guard !isReserved(va) else {
            state.pointee.warningCount += 1
            return false
        }
        beginChange()
        applyUnmap(va.id)
        endChange()
        return true
    }

    /// Replaces a mapping's flags; `va` is a mapping of this VM as it is.
    public func setFlags(_ flags: GPUVAFlags, of va: GPUVA) {
        beginChange()
        journal.append(.vaFlags, va.id, vas[va.id].flags)
        vas[va.id].flags = flags.rawValue
        endChange()
    }

    /// What the list needs at most while its transaction is open, when the old mappings are still
    /// there too. In immediate mode it is taken at once: reservations are made meanwhile.
    private func checkCapacity(for ops: borrowing OpList) throws(GPUVMError) {
        var needed = 0
        var neededVMBOs = 0
        ops.forEach { op in
            switch op {
            case .map(let map):
                needed += 1
                if let object = map.object, findVMBO(object) == 0 { neededVMBOs += 1 }
            case .remap(let remap):
                needed += (remap.previous == nil ? 0 : 1) + (remap.next == nil ? 0 : 1)
            case .unmap, .prefetch: break
            }
        }
        try checkCapacity(vas: needed, vmBOs: neededVMBOs)
    }

    private func checkCapacity(vas neededVAs: Int, vmBOs neededVMBOs: Int) throws(GPUVMError) {
        guard isImmediate else {
            guard vas.availableCount >= neededVAs, vmBOs.availableCount >= neededVMBOs else {
                throw .outOfMemory(needed: neededVAs)
            }
            return
        }
        // Whoever creates VM_BOs has the VM lock, so that they can only become fewer.
        guard listLock.withLock({ vmBOs.availableCount }) >= neededVMBOs, commitVAs(neededVAs)
        else { throw .outOfMemory(needed: neededVAs) }
        state.pointee.heldVAs = neededVAs
    }

    /// Gives back what the list did not need, in immediate mode.
    @inline(__always)
    private func releaseHeldVAs() {
        guard isImmediate else { return }
        committedVAs.subtract(state.pointee.heldVAs, ordering: .relaxed)
        state.pointee.heldVAs = 0
    }

    // MARK: - The steps

    /// Obtain the VM_BO, add it to the external objects, insert, link, drop the VM_BO.
    ///
    /// - Parameter replaced: A VA of the same start that has been unlinked and leaves the tree now; 0
    ///   for none.
    /// - Returns: The new VA, 0 if the insertion was refused.
    @inline(__always)
    func applyMap(
        _ map: GPUVAOp.Map, replacing replaced: UInt32 = 0, isChecked: Bool = false
    ) -> UInt32 {
        var vmBO: UInt32 = 0
        if let object = map.unmanagedObject {
            vmBO = object._withUnsafeGuaranteedRef { obtainVMBO($0) }
        }
        let record = VARecord(
            address: map.piece.address, range: map.piece.range, offset: map.piece.offset,
            flags: map.flags.rawValue, vmBO: vmBO)
        let id =
            replaced == 0
            ? insertVA(record, isChecked: isChecked || map.piece.range == 0)
            : replaceVA(replaced, by: record)
        if vmBO != 0 {
            if id != 0 { link(id, to: vmBO) }
            putVMBO(vmBO)
        }
        return id
    }

    /// Remove the old VA, insert the pieces, link them, unlink the old VA: its VM_BO lives on.
    @inline(__always)
    @discardableResult
    func applyRemap(_ remap: GPUVAOp.Remap, carrying carried: GPUVAFlags) -> Int {
        let old = remap.va.id
        let vmBO = vas[old].vmBO
        let flags = remap.va.flags.intersection(carried).rawValue
        // Only what remains of a zero range could meet another entry.
        let isChecked = remap.va.range == 0
        var refused = 0
        removeVA(old)
        var pieces: (UInt32, UInt32) = (0, 0)
        if let piece = remap.previous {
            pieces.0 = insertVA(
                VARecord(
                    address: piece.address, range: piece.range, offset: piece.offset, flags: flags,
                    vmBO: vmBO), isChecked: isChecked)
            if pieces.0 == 0 { refused += 1 }
        }
        if let piece = remap.next {
            pieces.1 = insertVA(
                VARecord(
                    address: piece.address, range: piece.range, offset: piece.offset, flags: flags,
                    vmBO: vmBO), isChecked: isChecked)
            if pieces.1 == 0 { refused += 1 }
        }
        if vmBO != 0 {
            if pieces.0 != 0 { link(pieces.0, to: vmBO) }
            if pieces.1 != 0 { link(pieces.1, to: vmBO) }
            unlink(old)
        }
        return refused
    }

    /// Unlink, then remove.
    @inline(__always)
    func applyUnmap(_ id: UInt32) {
        unlinkIfLinked(id)
        removeVA(id)
    }

    @inline(__always)
    private func unlinkIfLinked(_ id: UInt32) {
        if vas[id].vmBO != 0 { unlink(id) }
    }

    // MARK: - The tree

    @inline(__always)
    func insertVA(_ record: VARecord, isChecked: Bool) -> UInt32 {
        if isChecked {
            guard isValid(address: record.address, range: record.range),
                firstOverlap(record.address, record.last) == .end
            else { return 0 }
        }
        let id = takeVA(record)
        tree.insert(record.address, id)
        state.pointee.vaCount &+= 1
        journal.append(.vaInserted, id)
        return id
    }

    /// Removes a VA and inserts one of the same start: the tree's entry most often only gets another
    /// name, and an undo finds what the two steps would have left.
    @inline(__always)
    private func replaceVA(_ old: UInt32, by record: VARecord) -> UInt32 {
        let id = takeVA(record)
        if tree.exchange(record.address, old, for: id) {
            journal.append(.vaRemoved, old)
        } else {
            removeVA(old)
            tree.insert(record.address, id)
            state.pointee.vaCount &+= 1
        }
        journal.append(.vaInserted, id)
        return id
    }

    @inline(__always)
    private func takeVA(_ record: VARecord) -> UInt32 {
        if isImmediate {
            state.pointee.heldVAs &-= 1
            precondition(state.pointee.heldVAs >= 0, "a change added more than was reserved")
        }
        return vas.allocate(record)
    }

    @inline(__always)
    private func removeVA(_ id: UInt32) {
        guard let rank = tree.remove(vas[id].address, id) else {
            preconditionFailure("an op names a mapping that is not in the VM")
        }
        state.pointee.vaCount &-= 1
        journal.append(.vaRemoved, id, UInt32(truncatingIfNeeded: rank))
    }
}
