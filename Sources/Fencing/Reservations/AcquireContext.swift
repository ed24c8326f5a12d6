import Synchronization

// @unchecked: a context belongs to the one thread that uses it; only `stamp` and `cancellation`,
// which never change, are read by others.
/// The age of one attempt to lock several reservations: the older context wins a contention.
///
/// A context keeps its age over back-offs, so that every attempt succeeds in the end. It is for one
/// attempt: who starts the next one with an old context overtakes everybody who came meanwhile.
///
/// Source: `struct ww_acquire_ctx` (include/linux/ww_mutex.h).
///
/// Threading: one thread, which also unlocks everything that it locked.
public final class AcquireContext: @unchecked Sendable {
    private static let lastStamp = Atomic<UInt64>(0)

    /// Position in the order of age; smaller is older. Never 0, never given out twice.
    public let stamp: UInt64
    /// What ends the context's waits; nil for a context that always waits until the end.
    public let cancellation: Cancellation?
    /// How many reservations the context holds.
    public private(set) var heldCount = 0

    #if DEBUG
        /// The reservation that told the context to back off: the next one that it locks.
        private var contended: ObjectIdentifier?
        private var isDone = false
    #endif

    /// Starts an attempt that is younger than every existing one.
    public init(cancellation: Cancellation? = nil) {
        stamp = Self.lastStamp.add(1, ordering: .relaxed).newValue
        self.cancellation = cancellation
    }

    deinit { precondition(heldCount == 0, "an acquire context ended while it held reservations") }

    /// Says that everything is locked that the attempt needs: debug builds trap if it blocks for
    /// another reservation, with nobody there to back off. A try-lock stays possible.
    ///
    /// Source: `ww_acquire_done`.
    public func done() {
        #if DEBUG
            isDone = true
        #endif
    }

    // The wait/wound locks of one context count as one entry of class `reservation` in the
    // thread's held locks: there can be more of them than the thread's record has room for.

    /// Traps in debug builds unless the context may block for the reservation now.
    func willAcquire(_ reservation: Reservation) {
        #if DEBUG
            precondition(!isDone, "a context blocks for a reservation after it was done")
            if let contended {
                precondition(
                    contended == ObjectIdentifier(reservation) && heldCount == 0,
                    "told to back off, a context unlocks everything and locks what was contended")
            }
            if heldCount == 0 { HeldLocks.willAcquire(.reservation, at: address) }
        #endif
    }

    func didAcquire() {
        #if DEBUG
            contended = nil
            if heldCount == 0 { HeldLocks.didAcquire(.reservation, at: address) }
        #endif
        heldCount += 1
    }

    func mustBackOff(from reservation: Reservation) {
        #if DEBUG
            contended = ObjectIdentifier(reservation)
        #endif
    }

    func didRelease() {
        heldCount -= 1
        #if DEBUG
            if heldCount == 0 { HeldLocks.willRelease(at: address) }
        #endif
    }

    #if DEBUG
        private var address: UnsafeRawPointer {
            UnsafeRawPointer(Unmanaged.passUnretained(self).toOpaque())
        }
    #endif
}
