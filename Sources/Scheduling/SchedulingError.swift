import Glibc

/// Why a queue does not take a job, or an engine does not start.
public enum SchedulingError: Error, Equatable, Sendable {
    /// The queue is banned; `reason` is the positive errno of what banned it.
    case banned(reason: Int32)
    /// The queue was closed.
    case closed
    /// The queue's engine has been shut down.
    case engineStopped
    /// The system refused the engine another thread.
    case noThread

    /// The positive errno for the protocol's edge: ECANCELED, ENOENT, ENODEV or EAGAIN.
    ///
    /// Source: drivers/gpu/drm/xe/xe_exec.c answers a banned exec queue with ECANCELED.
    public var errno: Int32 {
        switch self {
        case .banned: ECANCELED
        case .closed: ENOENT
        case .engineStopped: ENODEV
        case .noThread: EAGAIN
        }
    }
}
