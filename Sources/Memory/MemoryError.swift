import Glibc

/// Why memory could not be had or a buffer not made.
public enum MemoryError: Error, Equatable, Sendable {
    /// The region has `free` bytes left of the `wanted`: ENOSPC for VRAM, ENOMEM for system memory
    /// (the kernel's answers for an over-committed resource).
    case exhausted(Placement, wanted: UInt64, free: UInt64)
    /// The descriptor is no memfd on tmpfs that can be sealed: EINVAL.
    case notShareable(reason: String)
    /// The descriptor's file is shorter than announced: EINVAL.
    case tooShort(announced: UInt64, actual: UInt64)
    /// The device is shutting down and moves nothing any more: ENODEV.
    case stopped
    /// A system call of the host failed with this positive errno.
    case system(errno: Int32, call: String)

    /// The positive errno that a kernel driver would answer.
    public var errno: Int32 {
        switch self {
        case .exhausted(.vram, _, _): ENOSPC
        case .exhausted(.system, _, _): ENOMEM
        case .notShareable, .tooShort: EINVAL
        case .stopped: ENODEV
        case .system(let errno, _): errno
        }
    }
}

extension MemoryError: CustomStringConvertible {
    /// What, how much, why, and what to do.
    public var description: String {
        switch self {
        case .exhausted(let placement, let wanted, let free):
            """
            \(placement == .vram ? "VRAM" : "system memory") is used up: \(wanted) bytes wanted, \
            \(free) free and nothing left to evict; close buffers, or give the device more
            """
        case .notShareable(let reason): "the descriptor cannot back a buffer: \(reason)"
        case .tooShort(let announced, let actual):
            "the memory has \(actual) bytes and \(announced) were announced"
        case .stopped: "the device is shutting down"
        case .system(let errno, let call): "\(call) failed with errno \(errno)"
        }
    }
}
