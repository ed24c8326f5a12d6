import Fencing
import Glibc

/// Why a GPU VA space refused a request.
public enum GPUVMError: Error, Equatable, Sendable {
    /// The range overflows, leaves the space or touches the reserved node (EINVAL). Bytes.
    case invalidRange(address: UInt64, range: UInt64)
    /// A bare insertion overlaps an existing mapping (EEXIST). Bytes.
    case exists(address: UInt64, range: UInt64)
    /// There is no such mapping, or the object is not mapped in this VM (ENOENT). Bytes; both 0
    /// for an object.
    case noEntry(address: UInt64, range: UInt64)
    /// The VM was closed (ENOENT).
    case closed
    /// The VM's capacity of `needed` more mappings or objects is exhausted (ENOMEM).
    case outOfMemory(needed: Int)
    /// A validation callback could not make an object resident (ENOMEM).
    case validationFailed(errno: Int32)
    /// The reservation is locked already by this attempt, and duplicates are not ignored (EALREADY).
    case alreadyLocked
    /// A wait for a reservation was ended by the attempt's cancellation (EINTR): nothing happened,
    /// and the request can be made again.
    case interrupted
    /// No fence slots were asked for where at least one is needed (EINVAL).
    case noFenceSlots
    /// An older attempt has or wants a reservation (EDEADLK); ``ExecLocking/untilAllLocked(_:)``
    /// backs off and starts over.
    case contended

    /// The kernel's error number, positive.
    public var errno: Int32 {
        switch self {
        case .invalidRange, .noFenceSlots: EINVAL
        case .exists: EEXIST
        case .noEntry, .closed: ENOENT
        case .outOfMemory: ENOMEM
        case .validationFailed(let errno): errno
        case .alreadyLocked: EALREADY
        case .interrupted: EINTR
        case .contended: EDEADLK
        }
    }
}

extension GPUVMError: CustomStringConvertible {
    /// The reason with its range in lower-case hex, as the kernel prints addresses.
    public var description: String {
        func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
        return switch self {
        case .invalidRange(let address, let range):
            "range \(hex(address))+\(hex(range)) is not in the VM's address space"
        case .exists(let address, let range):
            "range \(hex(address))+\(hex(range)) overlaps a mapping"
        case .noEntry(0, 0): "the object is not mapped in this VM"
        case .noEntry(let address, let range): "no mapping \(hex(address))+\(hex(range))"
        case .closed: "the VM is closed"
        case .outOfMemory(let needed): "no room for \(needed) more mappings or objects"
        case .validationFailed(let errno): "an object could not be validated (errno \(errno))"
        case .alreadyLocked: "a reservation is locked twice"
        case .interrupted: "interrupted while waiting for a reservation"
        case .noFenceSlots: "no fence slots asked for"
        case .contended: "an older attempt wants a reservation"
        }
    }
}

extension GPUVMError {
    init(_ error: ReservationError) {
        self =
            switch error {
            case .deadlock: .contended
            case .alreadyLocked: .alreadyLocked
            case .interrupted: .interrupted
            case .noSlots: .noFenceSlots
            }
    }
}
