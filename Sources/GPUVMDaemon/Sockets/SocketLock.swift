import Glibc
import SystemPackage
import WireProtocol

/// The right to serve one socket path, held as a flock(2) on a file beside it.
///
/// The kernel drops the lock however its owner dies, so a free lock proves that a socket file left
/// behind is stale. The lock file goes away with an orderly end. Between one daemon's unlink and
/// another's open the name can come to mean another inode; whoever has locked a file checks that the
/// name still leads to it, and starts again if not.
///
/// Threading: acquire and drop from any thread; nothing here changes in between.
public struct SocketLock: ~Copyable, Sendable {
    /// The path of the lock file of a socket.
    public static func path(forSocket path: String) -> String { path + ".lock" }

    /// The lock file.
    public let path: String
    private let fd: OwnedFD

    /// Takes the lock of a socket path.
    ///
    /// - Throws: ``SocketError/ownedByLivingDaemon(path:pid:)`` if somebody holds it.
    public init(socketPath: String) throws(SocketError) {
        let path = Self.path(forSocket: socketPath)
        // Each failed attempt means that somebody else has made progress, so a few suffice.
        for _ in 0..<Self.maximumAttempts {
            let fd = try Self.open(path, O_RDWR | O_CREAT)
            switch Self.tryLock(fd.rawValue) {
            case .taken:
                guard try Self.isCurrent(fd.rawValue, path) else { continue }
                try Self.writeOwner(to: fd.rawValue, path)
                self.path = path
                self.fd = fd
                return
            case .heldByProbe:
                continue
            case .heldByOwner:
                throw .ownedByLivingDaemon(path: socketPath, pid: Self.readOwner(fd.rawValue))
            case .failed(let errno):
                throw .system(operation: "flock", path: path, errno)
            }
        }
        throw .ownedByLivingDaemon(path: socketPath, pid: nil)
    }

    deinit {
        // While the lock is still held: nobody can have locked this inode, and who opened it finds
        // the name gone.
        unlink(path)
    }

    /// What the lock file says about the daemon behind a socket path.
    public enum Owner: Sendable, Equatable {
        /// No daemon: a socket at the path is stale.
        case none
        /// A daemon lives; its process, if the file tells.
        case living(pid: Int32?)
    }

    /// Asks for the owner of a socket path without becoming it.
    public static func owner(ofSocket socketPath: String) throws(SocketError) -> Owner {
        let path = path(forSocket: socketPath)
        let fd: OwnedFD
        do throws(SocketError) {
            fd = try open(path, O_RDONLY)
        } catch {
            if case .system(_, _, .noSuchFileOrDirectory) = error { return .none }
            throw error
        }
        if flock(fd.rawValue, LOCK_SH | LOCK_NB) == 0 { return .none }
        guard errno == EWOULDBLOCK else {
            throw .system(operation: "flock", path: path, Errno(rawValue: errno))
        }
        return .living(pid: readOwner(fd.rawValue))
    }

    private static let maximumAttempts = 1000

    private enum Attempt {
        case taken, heldByOwner, heldByProbe
        case failed(Errno)
    }

    private static func tryLock(_ fd: Int32) -> Attempt {
        if flock(fd, LOCK_EX | LOCK_NB) == 0 { return .taken }
        guard errno == EWOULDBLOCK else { return .failed(Errno(rawValue: errno)) }
        // owner(ofSocket:) holds the lock shared for a moment; an owner holds it alone.
        if flock(fd, LOCK_SH | LOCK_NB) == 0 { return .heldByProbe }
        return errno == EWOULDBLOCK ? .heldByOwner : .failed(Errno(rawValue: errno))
    }

    private static func open(_ path: String, _ flags: Int32) throws(SocketError) -> OwnedFD {
        // NOFOLLOW: in a directory that others can write to, a link could lead to any file.
        let fd = Glibc.open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0o644)
        guard fd >= 0 else {
            throw .system(operation: "open", path: path, Errno(rawValue: errno))
        }
        return OwnedFD(fd)
    }

    private static func isCurrent(_ fd: Int32, _ path: String) throws(SocketError) -> Bool {
        var ours = stat()
        var named = stat()
        guard fstat(fd, &ours) == 0 else {
            throw .system(operation: "fstat", path: path, Errno(rawValue: errno))
        }
        guard lstat(path, &named) == 0 else {
            if errno == ENOENT { return false }
            throw .system(operation: "lstat", path: path, Errno(rawValue: errno))
        }
        return ours.st_dev == named.st_dev && ours.st_ino == named.st_ino
    }

    private static func writeOwner(to fd: Int32, _ path: String) throws(SocketError) {
        // Clients ask whether it is held, whatever the daemon's umask is.
        guard fchmod(fd, 0o644) == 0 else {
            throw .system(operation: "chmod", path: path, Errno(rawValue: errno))
        }
        let text = "\(getpid())\n"
        let written = text.withCString { pwrite(fd, $0, text.utf8.count, 0) }
        guard written == text.utf8.count, ftruncate(fd, text.utf8.count) == 0 else {
            throw .system(operation: "write", path: path, Errno(rawValue: errno))
        }
    }

    private static func readOwner(_ fd: Int32) -> Int32? {
        let bytes = [UInt8](unsafeUninitializedCapacity: 16) { buffer, count in
            count = max(0, pread(fd, buffer.baseAddress, buffer.count, 0))
        }
        let digits = bytes.prefix { (48...57).contains($0) }
        return Int32(String(decoding: digits, as: UTF8.self))
    }
}
