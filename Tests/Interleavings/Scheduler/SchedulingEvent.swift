import Fencing

/// What a thread did at a scheduling point.
struct SchedulingEvent {
    /// The kind of point; the raw values are part of the trace hash.
    enum Kind: UInt8 {
        case lock = 1
        case tryLock
        case unlock
        case wait
        case woken
        case timedOut
        case wake
        case start
        case end
        case join
        case clock

        /// As printed; null-terminated.
        var name: StaticString {
            switch self {
            case .lock: "lock"
            case .tryLock: "tryLock"
            case .unlock: "unlock"
            case .wait: "wait"
            case .woken: "woken"
            case .timedOut: "timedOut"
            case .wake: "wake"
            case .start: "start"
            case .end: "end"
            case .join: "join"
            case .clock: "clock"
            }
        }
    }

    var kind: Kind
    var thread: Int
    var clock: UInt64
    /// The class of the lock, if one is concerned.
    var lockClass: LockClass?
    /// The lock's or the condition's address.
    var address: UInt = 0

    /// Mixed into the trace hash: nothing that depends on an address.
    var digest: UInt64 {
        UInt64(kind.rawValue) | UInt64(thread) << 8 | UInt64(lockClass?.rank ?? 0) << 24
            | clock << 40
    }
}
