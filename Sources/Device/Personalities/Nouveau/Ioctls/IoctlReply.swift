import Glibc

/// A descriptor that an ioctl returns, open until this is dropped.
///
/// Threading: immutable.
public final class IoctlDescriptor: Sendable {
    /// The number in the daemon.
    public let rawValue: Int32
    /// Whose descriptor it is; nil: this object's.
    private let owner: (any AnyObject & Sendable)?

    /// Takes a descriptor over.
    init(owning descriptor: Int32) {
        rawValue = descriptor
        owner = nil
    }

    /// Lends a descriptor that `owner` keeps open.
    init(_ descriptor: Int32, of owner: any AnyObject & Sendable) {
        rawValue = descriptor
        self.owner = owner
    }

    deinit {
        if owner == nil { close(rawValue) }
    }
}

/// What an ioctl comes to.
public struct IoctlReply: Sendable {
    /// What ioctl(2) returns, or -errno.
    public var result: Int32
    /// The argument as it is written back, as long as the program's.
    public var argument: IoctlBytes
    /// The contents of the output blocks, in the order of the call's.
    public var outputs: [IoctlBytes]
    /// The descriptor that the call returns.
    public var descriptor: IoctlDescriptor?
}
