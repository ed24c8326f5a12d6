import CPlatform

/// The calling thread's held locks, kept in debug builds to assert the lock order.
///
/// The record is thread-local (in C: Swift has no thread-local storage), so nothing here is shared.
/// It is kept inside fence-signalling sections too, where tests count allocations: plain loops over
/// pointers, because generic algorithms allocate in debug builds.
enum HeldLocks {
    private typealias State = UnsafeMutablePointer<gpuvm_thread_state>

    /// Traps if taking a lock of `lockClass` would violate the order or a signalling section.
    static func willAcquire(_ lockClass: LockClass, at address: UnsafeRawPointer) {
        let state = gpuvm_thread_state()!
        if state.pointee.signalling_depth > 0 && !lockClass.signallingSafe {
            fatalError(
                "lock of class \(lockClass.name) taken inside a fence-signalling section")
        }
        let (ranks, count) = (ranks(state), Int(state.pointee.held_count))
        var index = 0
        while index < count {
            if ranks[index] >= lockClass.rank {
                fatalError(
                    """
                    lock order violated: class \(lockClass.name) (rank \(lockClass.rank)) taken \
                    while a lock of rank \(ranks[index]) is held
                    """)
            }
            index += 1
        }
    }

    static func didAcquire(_ lockClass: LockClass, at address: UnsafeRawPointer) {
        let state = gpuvm_thread_state()!
        let count = Int(state.pointee.held_count)
        precondition(count < Int(GPUVM_MAX_HELD_LOCKS), "too many locks held by one thread")
        ranks(state)[count] = lockClass.rank
        locks(state)[count] = address
        state.pointee.held_count += 1
    }

    static func willRelease(at address: UnsafeRawPointer) {
        let state = gpuvm_thread_state()!
        let (ranks, locks) = (ranks(state), locks(state))
        let last = Int(state.pointee.held_count) - 1
        var index = last
        while index >= 0 && locks[index] != address { index -= 1 }
        guard index >= 0 else {
            fatalError("a lock is released by a thread that does not hold it")
        }
        while index < last {
            ranks[index] = ranks[index + 1]
            locks[index] = locks[index + 1]
            index += 1
        }
        state.pointee.held_count -= 1
    }

    static func holds(_ address: UnsafeRawPointer) -> Bool {
        let state = gpuvm_thread_state()!
        let (locks, count) = (locks(state), Int(state.pointee.held_count))
        var index = 0
        while index < count {
            if locks[index] == address { return true }
            index += 1
        }
        return false
    }

    // C arrays are tuples in Swift; their elements lie one behind the other, and the record stays
    // where it is while the thread lives.

    private static func ranks(_ state: State) -> UnsafeMutablePointer<UInt16> {
        withUnsafeMutablePointer(to: &state.pointee.held_rank) {
            UnsafeMutableRawPointer($0).assumingMemoryBound(to: UInt16.self)
        }
    }

    private static func locks(_ state: State) -> UnsafeMutablePointer<UnsafeRawPointer?> {
        withUnsafeMutablePointer(to: &state.pointee.held_lock) {
            UnsafeMutableRawPointer($0).assumingMemoryBound(to: UnsafeRawPointer?.self)
        }
    }
}
