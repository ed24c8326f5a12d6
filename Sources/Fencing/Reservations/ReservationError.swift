import Glibc

/// Why a ``Reservation`` could not be locked or prepared.
public enum ReservationError: Error, Equatable, Sendable {
    /// An older acquirer has or wants the lock (EDEADLK): unlock everything, then start over with
    /// ``Reservation/lockSlow(_:)``.
    case deadlock
    /// This acquire context holds the lock already (EALREADY).
    case alreadyLocked
    /// The wait was ended by the context's ``Cancellation`` (EINTR).
    case interrupted
    /// Zero fence slots were asked for (EINVAL).
    case noSlots

    /// The kernel's error number.
    public var errno: Int32 {
        switch self {
        case .deadlock: EDEADLK
        case .alreadyLocked: EALREADY
        case .interrupted: EINTR
        case .noSlots: EINVAL
        }
    }
}
