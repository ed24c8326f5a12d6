import CPlatform
import Synchronization

// @unchecked: a context belongs to the one thread that uses it; only `stamp` is read by others.
/// The age of one attempt to lock several reservations: the older context wins a contention.
///
/// A context keeps its age over back-offs, so that every attempt succeeds in the end.
///
/// Source: `struct ww_acquire_ctx` (include/linux/ww_mutex.h).
///
/// Threading: one thread, which also unlocks everything that it locked.
public final class AcquireContext: @unchecked Sendable {
    private static let lastStamp = Atomic<UInt64>(0)

    /// Position in the order of age; smaller is older. Never 0, never given out twice.
    public let stamp: UInt64
    /// How many reservations the context holds.
    public private(set) var heldCount = 0

    /// Starts an attempt that is younger than every existing one.
    public init() { stamp = Self.makeStamp() }

    deinit { precondition(heldCount == 0, "an acquire context ended while it held reservations") }

    static func makeStamp() -> UInt64 { lastStamp.add(1, ordering: .relaxed).newValue }

    // The wait/wound locks of one context count as one entry of class `reservation` in the
    // thread's held locks: there can be more of them than the thread's record has room for.

    func willAcquire() {
        #if DEBUG
            if heldCount == 0 { HeldLocks.willAcquire(.reservation, at: address) }
        #endif
    }

    func didAcquire() {
        #if DEBUG
            if heldCount == 0 { HeldLocks.didAcquire(.reservation, at: address) }
        #endif
        heldCount += 1
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
