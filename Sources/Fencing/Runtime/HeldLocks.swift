import CPlatform

/// The calling thread's held locks, kept in debug builds to assert the lock order.
///
/// The record is thread-local (in C: Swift has no thread-local storage), so nothing here is shared.
enum HeldLocks {
    /// Traps if taking a lock of `lockClass` would violate the order or a signalling section.
    static func willAcquire(_ lockClass: LockClass, at address: UnsafeRawPointer) {
        let state = gpuvm_thread_state()!
        if state.pointee.signalling_depth > 0 && !lockClass.signallingSafe {
            fatalError(
                "lock of class \(lockClass.name) taken inside a fence-signalling section")
        }
        withRanks(state) { ranks in
            if let held = ranks.max(), held >= lockClass.rank {
                fatalError(
                    """
                    lock order violated: class \(lockClass.name) (rank \(lockClass.rank)) taken \
                    while a lock of rank \(held) is held
                    """)
            }
        }
    }

    static func didAcquire(_ lockClass: LockClass, at address: UnsafeRawPointer) {
        let state = gpuvm_thread_state()!
        let count = Int(state.pointee.held_count)
        precondition(count < Int(GPUVM_MAX_HELD_LOCKS), "too many locks held by one thread")
        withUnsafeMutableBytes(of: &state.pointee.held_rank) {
            $0.assumingMemoryBound(to: UInt16.self)[count] = lockClass.rank
        }
        withUnsafeMutableBytes(of: &state.pointee.held_lock) {
            $0.assumingMemoryBound(to: UnsafeRawPointer?.self)[count] = address
        }
        state.pointee.held_count += 1
    }

    static func willRelease(at address: UnsafeRawPointer) {
        let state = gpuvm_thread_state()!
        let count = Int(state.pointee.held_count)
        withUnsafeMutableBytes(of: &state.pointee.held_lock) { lockBytes in
            let locks = lockBytes.assumingMemoryBound(to: UnsafeRawPointer?.self)
            guard let index = (0..<count).last(where: { locks[$0] == address }) else {
                fatalError("a lock is released by a thread that does not hold it")
            }
            withUnsafeMutableBytes(of: &state.pointee.held_rank) { rankBytes in
                let ranks = rankBytes.assumingMemoryBound(to: UInt16.self)
                for i in index..<(count - 1) {
                    ranks[i] = ranks[i + 1]
                    locks[i] = locks[i + 1]
                }
            }
        }
        state.pointee.held_count -= 1
    }

    static func holds(_ address: UnsafeRawPointer) -> Bool {
        let state = gpuvm_thread_state()!
        let count = Int(state.pointee.held_count)
        return withUnsafeBytes(of: &state.pointee.held_lock) { bytes in
            let locks = bytes.assumingMemoryBound(to: UnsafeRawPointer?.self)
            return (0..<count).contains { locks[$0] == address }
        }
    }

    private static func withRanks(
        _ state: UnsafeMutablePointer<gpuvm_thread_state>,
        _ body: (Slice<UnsafeBufferPointer<UInt16>>) -> Void
    ) {
        let count = Int(state.pointee.held_count)
        withUnsafeBytes(of: &state.pointee.held_rank) {
            body($0.bindMemory(to: UInt16.self)[0..<count])
        }
    }
}
