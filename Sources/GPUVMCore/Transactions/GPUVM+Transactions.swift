#if MUTANTS
    import Fencing
#endif

// Transactions: every primitive change is journaled; nothing is freed before the commit, so that a
// rollback finds every record as it was.
extension GPUVM {
    /// Opens a transaction: what follows can be undone until ``commit()``.
    ///
    /// Transactions do not nest.
    public func begin() {
        precondition(!state.pointee.isInTransaction, "a transaction is open already")
        openTransaction()
        state.pointee.collectsReleased = true
        state.pointee.releasedBefore = released.count
    }

    /// Makes the transaction's changes final: VAs are freed, VM_BOs without references destroyed.
    ///
    /// Cannot fail. The objects that lost mappings are kept until ``takeReleased(into:)``.
    public func commit() {
        precondition(state.pointee.isInTransaction, "no transaction is open")
        closeTransaction()
    }

    /// Undoes the transaction: mappings, link orders, lists and counts are exactly as before it.
    ///
    /// Cannot fail.
    public func rollback() {
        precondition(state.pointee.isInTransaction, "no transaction is open")
        #if MUTANTS
            if Mutant.isPlanted("rollbackSkipped") { journal.removeAll() }
        #endif
        for index in stride(from: journal.count - 1, through: 0, by: -1) {
            undo(journal[index])
        }
        journal.removeAll()
        // What earlier transactions released and nobody took yet stays.
        released.removeLast(released.count - state.pointee.releasedBefore)
        state.pointee.generation &+= 1
        state.pointee.isInTransaction = false
        state.pointee.collectsReleased = false
    }

    /// Whether ``begin()`` was called without ``commit()`` or ``rollback()`` since.
    public var isInTransaction: Bool { state.pointee.isInTransaction }

    /// Hands over, once, the objects of which committed transactions removed mappings, each at most
    /// once for each transaction: who updates the page tables keeps them alive until that is done.
    ///
    /// Not inside a transaction.
    public func takeReleased(into objects: inout [GPUVMObject]) {
        precondition(!state.pointee.isInTransaction, "objects are released by the commit")
        objects.append(contentsOf: released)
        released.removeAll(keepingCapacity: true)
    }

    /// A change outside of a transaction is one of its own.
    @inline(__always)
    func beginChange() {
        if !state.pointee.isInTransaction { openTransaction() }
        state.pointee.generation &+= 1
    }

    @inline(__always)
    func endChange() {
        if !state.pointee.collectsReleased { closeTransaction() }
    }

    @inline(__always)
    private func openTransaction() {
        state.pointee.isInTransaction = true
        state.pointee.transaction &+= 1
    }

    private func closeTransaction() {
        for index in 0..<journal.count {
            let entry = journal[index]
            switch entry.change {
            case .vaRemoved: vas.free(entry.id)
            case .vmBODied: destroyIfDead(entry.id)
            default: break
            }
        }
        journal.removeAll()
        state.pointee.isInTransaction = false
        state.pointee.collectsReleased = false
    }

    /// A VM_BO can have died, come back and died again; its binding is there until it is destroyed.
    private func destroyIfDead(_ id: UInt32) {
        guard vmBOs[id].isDead else { return }
        guard let object = vmBOs[id].object else { preconditionFailure("a VM_BO has no object") }
        // Once the binding is gone nobody else can reach the record.
        object.takeUnretainedValue().removeBinding(self, id)
        vmBOs[id].isDead = false
        destroyVMBO(id)
    }

    private func undo(_ entry: Journal.Entry) {
        let id = entry.id
        switch entry.change {
        case .vaInserted:
            _ = tree.remove(vas[id].address, id)
            vas.free(id)
            state.pointee.vaCount &-= 1
        case .vaRemoved:
            tree.insert(vas[id].address, id, rank: Int(entry.detail))
            state.pointee.vaCount &+= 1
        case .vaLinked:
            let vmBO = vas[id].vmBO
            withLinkOrder(of: vmBO) { removeLink(id, vmBO) }
        case .vaUnlinked:
            let vmBO = vas[id].vmBO
            withLinkOrder(of: vmBO) { insertLink(id, vmBO, after: vas[id].previous) }
        case .vaFlags:
            vas[id].flags = entry.detail
        case .vmBOCreated, .vmBODied, .vmBORevived, .vmBOZombie:
            undoVMBO(entry)
        case .externalAdded:
            listLock.withLock { _ = remove(id, from: .external) }
        case .evictAdded:
            listLock.withLock { _ = remove(id, from: .evict) }
        case .externalRemoved:
            listLock.withLock {
                reinsert(id, in: .external, after: entry.detail, list: externalList)
            }
        case .evictRemoved:
            listLock.withLock { reinsert(id, in: .evict, after: entry.detail, list: evictList) }
        }
    }

    private func undoVMBO(_ entry: Journal.Entry) {
        let id = entry.id
        guard let object = vmBOs[id].object else { preconditionFailure("a VM_BO has no object") }
        state.pointee.recentObject = nil
        switch entry.change {
        case .vmBOCreated:
            object.takeUnretainedValue().removeBinding(self, id)
            // An eviction since has put it on the list, outside of the journal.
            listLock.withLock { if vmBOs[id].evict.next != 0 { _ = remove(id, from: .evict) } }
            state.pointee.vmBOCount -= 1
            destroyVMBO(id)
        case .vmBODied:
            state.pointee.vmBOCount += 1
            listLock.withLock { vmBOs[id].isDead = false }
        case .vmBORevived:
            state.pointee.vmBOCount -= 1
            listLock.withLock {
                vmBOs[id].isDead = true
                vmBOs[id].isEvicted = entry.detail != 0
                if vmBOs[id].evict.next != 0 { _ = remove(id, from: .evict) }
            }
        case .vmBOZombie:
            state.pointee.firstZombie = vmBOs[id].nextZombie
            object.takeUnretainedValue().addBinding(self, id, at: Int(entry.detail))
        default:
            preconditionFailure("not a change of a VM_BO")
        }
    }

    // MARK: - The end

    /// Unmaps everything and drops every reference that the VM holds; later requests throw
    /// ``GPUVMError/closed``, look-ups find nothing.
    ///
    /// The caller has stopped the engines and holds the reservations, or knows that nobody else
    /// walks the objects' mappings. O(mappings); allocates nothing. A second call does nothing.
    public func close() {
        precondition(!state.pointee.isInTransaction, "a VM is closed inside a transaction")
        guard !state.pointee.isClosed else { return }
        cleanUpDeferred()
        var cursor = tree.first
        while cursor != .end {
            let vmBO = vas[tree.id(at: cursor)].vmBO
            cursor = tree.next(cursor)
            guard vmBO != 0 else { continue }
            vmBOs[vmBO].referenceCount &-= 1
            guard vmBOs[vmBO].referenceCount == 0 else { continue }
            listLock.withLock {
                if vmBOs[vmBO].external.next != 0 { _ = remove(vmBO, from: .external) }
                if vmBOs[vmBO].evict.next != 0 { _ = remove(vmBO, from: .evict) }
            }
            vmBOs[vmBO].object?.takeUnretainedValue().removeBinding(self, vmBO)
            state.pointee.vmBOCount -= 1
            destroyVMBO(vmBO)
        }
        tree.reset()
        vas.reset()
        state.pointee.vaCount = 0
        state.pointee.reservedVA = 0
        state.pointee.generation &+= 1
        state.pointee.isClosed = true
        released.removeAll()
    }
}
