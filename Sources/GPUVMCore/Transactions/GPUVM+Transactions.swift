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
    func openTransaction() {
        state.pointee.isInTransaction = true
        state.pointee.transaction &+= 1
    }

    private func closeTransaction() {
        for index in 0..<journal.count {
            let entry = journal[index]
            switch entry.change {
            case .vaRemoved: freeVA(entry.id)
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
        guard record(id).pointee.isDead else { return }
        let object = object(of: id)
        object.listLock.withLock {
            listLock.withLock {
                leave(id, object)
                record(id).pointee.isDead = false
            }
        }
        // Nobody else can reach the record any more.
        destroyVMBO(id)
    }

    @inline(__always)
    private func freeVA(_ id: UInt32) {
        vas.free(id)
        if isImmediate { committedVAs.subtract(1, ordering: .relaxed) }
    }

    private func undo(_ entry: Journal.Entry) {
        let id = entry.id
        switch entry.change {
        case .vaInserted:
            _ = tree.remove(vas[id].address, id)
            freeVA(id)
            state.pointee.vaCount &-= 1
        case .vaRemoved:
            tree.insert(vas[id].address, id, rank: Int(entry.detail))
            state.pointee.vaCount &+= 1
        case .vaLinked:
            removeLink(id, vas[id].vmBO)
        case .vaUnlinked:
            insertLink(id, vas[id].vmBO, after: vas[id].previous)
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
        let object = object(of: id)
        state.pointee.recentObject = nil
        switch entry.change {
        case .vmBOCreated:
            object.listLock.withLock {
                listLock.withLock {
                    leave(id, object)
                    // An eviction since has put it on the list, outside of the journal.
                    leaveLists(id, isJournaled: false)
                }
            }
            destroyVMBO(id)
        case .vmBODied:
            listLock.withLock { record(id).pointee.isDead = false }
        case .vmBORevived:
            listLock.withLock {
                record(id).pointee.isDead = true
                record(id).pointee.isEvicted = entry.detail != 0
                leaveLists(id, isJournaled: false)
            }
        case .vmBOZombie:
            object.listLock.withLock {
                listLock.withLock {
                    leaveZombies(id)
                    enter(id, object)
                }
            }
        default:
            preconditionFailure("not a change of a VM_BO")
        }
    }

    /// Others may have become zombies since.
    private func leaveZombies(_ id: UInt32) {
        let next = record(id).pointee.nextZombie
        guard pairState.pointee.firstZombie != id else {
            pairState.pointee.firstZombie = next
            return
        }
        var previous = pairState.pointee.firstZombie
        while record(previous).pointee.nextZombie != id {
            previous = record(previous).pointee.nextZombie
            precondition(previous != 0, "a zombie of an open transaction was cleaned up")
        }
        record(previous).pointee.nextZombie = next
    }
}
