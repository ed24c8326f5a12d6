import CPlatform
import Glibc
import SystemPackage

/// A file descriptor with one owner, closed when the owner gives it up.
///
/// Threading: the descriptor may be used by any thread while its owner lives.
public struct OwnedFD: ~Copyable, Sendable {
    /// The descriptor's number; valid as long as this value lives.
    public let rawValue: Int32

    /// Takes over `rawValue`, which nobody else may close from now on.
    public init(_ rawValue: Int32) {
        self.rawValue = rawValue
    }

    deinit {
        close(rawValue)
    }

    /// Gives the descriptor up without closing it; the caller has to.
    public consuming func release() -> Int32 {
        let value = rawValue
        discard self
        return value
    }

    /// A second descriptor of the same open file, close-on-exec.
    ///
    /// - Throws: EMFILE when the process has no descriptor left.
    public borrowing func duplicate() throws(WireError) -> OwnedFD {
        try OwnedFD(duplicating: rawValue)
    }

    /// A second descriptor, close-on-exec, of an open file that stays somebody else's.
    ///
    /// - Throws: EMFILE when the process has no descriptor left.
    public init(duplicating descriptor: Int32) throws(WireError) {
        let copy = dup3Above(descriptor)
        guard copy >= 0 else {
            throw WireError(.lastSystemError, "fd \(descriptor) cannot be duplicated")
        }
        self.init(copy)
    }

    /// Creates a memfd of `bytes` bytes of zeros that accepts seals.
    ///
    /// - Throws: EMFILE, ENFILE or ENOMEM.
    public static func memfd(name: String, bytes: UInt64) throws(WireError) -> OwnedFD {
        let fd = gpuvm_memfd_create(name, bytes)
        guard fd >= 0 else {
            throw WireError(Errno(rawValue: -fd), "a memfd of \(bytes) bytes cannot be created")
        }
        return OwnedFD(fd)
    }
}

/// fcntl(F_DUPFD_CLOEXEC); the numbers of the standard streams are left alone.
private func dup3Above(_ fd: Int32) -> Int32 {
    fcntl(fd, F_DUPFD_CLOEXEC, 3)
}

extension Errno {
    /// What the last failed call of this thread left in `errno`.
    @usableFromInline static var lastSystemError: Errno { Errno(rawValue: errno) }
}
