import Fencing

/// A thread as the cooperative scheduler sees it.
struct ScheduledThread {
    /// What it needs before it can go on.
    enum Status {
        /// Nothing.
        case ready
        /// The lock whose word this is: it goes on when the word is 0.
        case lock(UnsafeMutablePointer<LockWord>)
        /// A wake-up of the condition, or its deadline; then the lock.
        case wait(
            condition: UnsafeRawPointer, lock: UnsafeMutablePointer<LockWord>, deadline: UInt64)
        /// The end of another thread.
        case join(Int)
        case ended
    }

    /// The scheduler's state of a lock, in the first bytes of the mutex that it stands for.
    struct LockWord {
        /// Thread number + 1; 0 while the lock is free.
        var owner: UInt32
        /// Threads that need it.
        var waiters: UInt32
    }

    struct HeldLock {
        var word: UnsafeMutablePointer<LockWord>
        var lockClass: LockClass
    }

    let name: String
    let carrier: Carrier
    var status = Status.ready
    /// The class of the lock that `status` is about.
    var wantedClass: LockClass?
    /// Whether its last wait ended by the deadline.
    var timedOut = false
    var priority: UInt64 = 0
    var held: [HeldLock] = []
    var body: (@Sendable () -> Void)?

    /// Whether it can go on now.
    var isEnabled: Bool {
        switch status {
        case .ready: true
        case .lock(let word): word.pointee.owner == 0
        case .wait, .join, .ended: false
        }
    }
}
