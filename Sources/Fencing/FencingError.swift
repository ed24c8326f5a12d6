import Glibc

/// Why a fence, sync object, wait or fence fd operation was refused.
public enum FencingError: Error, Equatable, Sendable {
    /// The point has no fence: nothing was submitted for it (EINVAL).
    case notSubmitted(point: UInt64)
    /// An argument out of its range: an unknown flag, no object at all, a slot that is not in use,
    /// an fd of the wrong kind (EINVAL).
    case invalidArgument(String)
    /// The deadline passed (ETIME).
    case timeExpired
    /// The wait was cancelled (ECANCELED).
    case cancelled
    /// A signal arrived and the caller asked to hear of it (EINTR).
    case interrupted
    /// More objects than one futex wait can take: let the daemon make a wait object (E2BIG).
    case tooManyObjects(count: Int, limit: Int)
    /// The quota of fence page slots is used up (ENOSPC).
    case noSlot(quota: Int)
    /// The quota of exported fence fds is used up (EMFILE).
    case tooManyFiles(quota: Int)
    /// The other side of a fence page is gone (ENODEV).
    case deviceLost
    /// The system refused a thread (EAGAIN).
    case noThread
    /// A system call failed.
    case system(errno: Int32, call: String)

    /// The positive errno that a DRM driver would answer with.
    public var errno: Int32 {
        switch self {
        case .notSubmitted, .invalidArgument: EINVAL
        case .timeExpired: ETIME
        case .cancelled: ECANCELED
        case .interrupted: EINTR
        case .tooManyObjects: E2BIG
        case .noSlot: ENOSPC
        case .tooManyFiles: EMFILE
        case .deviceLost: ENODEV
        case .noThread: EAGAIN
        case .system(let errno, _): errno
        }
    }
}

extension FencingError: CustomStringConvertible {
    /// What, and what to do.
    public var description: String {
        switch self {
        case .notSubmitted(let point):
            """
            point \(point) of the sync object has no fence: nothing that signals it was submitted; \
            submit that first, or wait for the submission
            """
        case .invalidArgument(let text): "\(text)"
        case .timeExpired: "the deadline passed"
        case .cancelled: "the wait was cancelled"
        case .interrupted: "a signal arrived"
        case .tooManyObjects(let count, let limit):
            "\(count) objects in one futex wait: \(limit) at most, or wait in the daemon"
        case .noSlot(let quota): "the client's quota of \(quota) fence-page slots is used up"
        case .tooManyFiles(let quota):
            "the client's quota of \(quota) descriptors for fences is used up: close some"
        case .deviceLost: "the daemon is gone"
        case .noThread: "the system refuses another thread"
        case .system(let errno, let call): "\(call) failed with errno \(errno)"
        }
    }
}
