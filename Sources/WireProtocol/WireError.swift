import SystemPackage

/// An errno and a sentence for a human: what, where, why and what to do about it.
public struct WireError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What a program decides by.
    public let code: Errno
    /// What a person reads; the wire carries at most ``maxTextBytes`` of it.
    public let text: String

    /// The longest text that an error reply carries, in bytes of UTF-8.
    public static let maxTextBytes = 1024

    /// Creates an error.
    public init(_ code: Errno, _ text: String) {
        self.code = code
        self.text = text
    }

    /// EINVAL with a reason.
    @inline(never)
    public static func invalid(_ text: String) -> WireError {
        WireError(.invalidArgument, text)
    }

    /// The text and the errno's name.
    public var description: String { "\(text) [\(code.symbol)]" }
}

/// A message that could not be decoded, with what is needed to answer it.
public struct DecodeFailure: Error, Sendable {
    /// The opcode as received; 0 when the message is shorter than a header.
    public let opcode: UInt16
    /// The serial as received; 0 when the message is shorter than a header.
    public let serial: UInt32
    /// What is wrong.
    public let error: WireError

    /// Creates a failure.
    public init(opcode: UInt16, serial: UInt32, error: WireError) {
        self.opcode = opcode
        self.serial = serial
        self.error = error
    }
}

extension Errno {
    /// The errno's symbolic name, such as "EINVAL".
    public var symbol: String {
        switch rawValue {
        case 0: "0"
        case 1: "EPERM"
        case 2: "ENOENT"
        case 3: "ESRCH"
        case 4: "EINTR"
        case 5: "EIO"
        case 6: "ENXIO"
        case 7: "E2BIG"
        case 9: "EBADF"
        case 11: "EAGAIN"
        case 12: "ENOMEM"
        case 13: "EACCES"
        case 14: "EFAULT"
        case 16: "EBUSY"
        case 17: "EEXIST"
        case 19: "ENODEV"
        case 20: "ENOTDIR"
        case 22: "EINVAL"
        case 23: "ENFILE"
        case 24: "EMFILE"
        case 25: "ENOTTY"
        case 28: "ENOSPC"
        case 32: "EPIPE"
        case 34: "ERANGE"
        case 36: "ENAMETOOLONG"
        case 38: "ENOSYS"
        case 62: "ETIME"
        case 71: "EPROTO"
        case 75: "EOVERFLOW"
        case 87: "EUSERS"
        case 90: "EMSGSIZE"
        case 95: "EOPNOTSUPP"
        case 98: "EADDRINUSE"
        case 104: "ECONNRESET"
        case 107: "ENOTCONN"
        case 110: "ETIMEDOUT"
        case 111: "ECONNREFUSED"
        case 114: "EALREADY"
        case 122: "EDQUOT"
        case 125: "ECANCELED"
        default: "errno \(rawValue)"
        }
    }
}
