import Fencing

/// What the classes' semaphore methods have in common.
extension NVIDIAContext {
    /// When an acquire is satisfied.
    enum Condition {
        case equal
        /// Unsigned.
        case greaterOrEqual
        /// The semaphore is at most half of the number circle ahead of the payload.
        case circular
        /// They have a bit in common.
        case and
        /// There is a bit that neither has.
        case nor

        func isSatisfied<Word: FixedWidthInteger & UnsignedInteger>(
            _ memory: Word, _ payload: Word
        ) -> Bool {
            switch self {
            case .equal: memory == payload
            case .greaterOrEqual: memory >= payload
            case .circular: (memory &- payload).leadingZeroBitCount > 0
            case .and: memory & payload != 0
            case .nor: memory | payload != .max
            }
        }
    }

    /// Looks at a semaphore.
    func acquire(
        _ address: UInt64, _ payload: UInt64, _ condition: Condition, isWide: Bool = false
    ) throws(EngineFailure) -> Progress {
        let memory = try word(.semaphore, address, bytes: isWide ? 8 : 4, .read) {
            isWide ? $0.load64() : UInt64($0.load32())
        }
        let isSatisfied =
            isWide
            ? condition.isSatisfied(memory, payload)
            : condition.isSatisfied(
                UInt32(truncatingIfNeeded: memory), UInt32(truncatingIfNeeded: payload))
        #if MUTANTS
            if Mutant.isPlanted("acquireNeverWaits") { return .done }
        #endif
        return isSatisfied ? .done : .blocked
    }

    func acquire(
        _ address: UInt64, _ payload: UInt32, _ condition: Condition
    ) throws(EngineFailure) -> Progress {
        try acquire(address, UInt64(payload), condition)
    }

    /// Stores a payload of 4 or 8 bytes; with a timestamp 16 bytes, which is the payload extended
    /// with zeros and the time in ns. Who sees the payload finds the time.
    func release(
        _ address: UInt64, _ payload: UInt64, isWide: Bool, hasTimestamp: Bool
    ) throws(EngineFailure) {
        if hasTimestamp {
            let value = isWide ? payload : payload & 0xffff_ffff
            try word(.semaphore, address, bytes: 16, .write) {
                _ = $0.following64.store64(Runtime.now())
                return $0.store64(value)
            }
        } else if isWide {
            try word(.semaphore, address, bytes: 8, .write) { $0.store64(payload) }
        } else {
            let value = UInt32(truncatingIfNeeded: payload)
            try word(.semaphore, address, bytes: 4, .write) { $0.store32(value) }
        }
        tally.releases &+= 1
    }

    /// Combines a payload with the semaphore, atomically.
    func reduce(
        _ address: UInt64, _ payload: UInt64, isWide: Bool, _ reduction: SemaphoreReduction,
        isSigned: Bool
    ) throws(EngineFailure) {
        if isWide {
            try word(.semaphore, address, bytes: 8, .write) {
                $0.update64 { reduction.apply($0, payload, isSigned: isSigned) }
            }
        } else {
            let value = UInt32(truncatingIfNeeded: payload)
            try word(.semaphore, address, bytes: 4, .write) {
                $0.update32 { reduction.apply($0, value, isSigned: isSigned) }
            }
        }
        tally.releases &+= 1
    }
}
