import Glibc
import SystemPackage
import WireProtocol

/// A socket that clients connect to, and its name in the file system.
///
/// Dropping it closes the socket and removes the name, if the name is still its own and not a
/// service manager's.
///
/// Threading: any thread.
public struct ListeningSocket: ~Copyable, Sendable {
    /// The listening socket, which never blocks.
    public let socket: UnixSocket
    /// Where it is bound.
    public let path: String

    private let identity: Identity?

    private struct Identity: Equatable {
        let device: dev_t
        let inode: ino_t
    }

    private init(socket: UnixSocket, path: String, identity: Identity?) {
        self.socket = socket
        self.path = path
        self.identity = identity
    }

    /// Binds a path whose lock the caller holds; a stale socket there makes way.
    ///
    /// - Parameters:
    ///   - mode: Permission bits of the socket file.
    ///   - group: Name or number of its group; nil leaves the process's own.
    ///   - lock: The proof that a socket at `path` has no living owner.
    /// - Throws: ``SocketError/notASocket(path:)`` for anything else at `path`, which stays.
    public static func bind(
        path: String, mode: UInt32, group: String?, lock: borrowing SocketLock
    ) throws(SocketError) -> ListeningSocket {
        precondition(lock.path == SocketLock.path(forSocket: path), "the lock of another socket")
        var groupID: gid_t?
        if let group { groupID = try self.groupID(group) }
        try makeWay(at: path)
        let bound = try listen(at: path)
        if let groupID, lchown(path, uid_t.max, groupID) != 0 {
            throw .system(operation: "chown", path: path, Errno(rawValue: errno))
        }
        guard chmod(path, mode) == 0 else {
            throw .system(operation: "chmod", path: path, Errno(rawValue: errno))
        }
        return bound
    }

    /// Takes over a listening socket that a service manager made; its name stays the manager's.
    public static func adopt(activated fd: consuming OwnedFD) throws(SocketError) -> ListeningSocket
    {
        let path = try self.path(ofActivated: fd.rawValue)
        let socket = UnixSocket(adopting: fd)
        try makeNonBlocking(socket, path)
        return ListeningSocket(socket: socket, path: path, identity: nil)
    }

    deinit {
        if let identity, identity == Self.identity(at: path) { unlink(path) }
    }

    /// Makes the last component of the directory that `path` lies in, if it is missing: for the
    /// daemon's user alone if the socket is, else searchable by all.
    static func makeDirectory(forSocket path: String, mode: UInt32) throws(SocketError) {
        let directory = FilePath(path).removingLastComponent().string
        guard !directory.isEmpty else { return }
        let directoryMode: mode_t = mode & 0o077 == 0 ? 0o700 : 0o755
        // A daemon's umask is not meant for its clients.
        if mkdir(directory, directoryMode) == 0, chmod(directory, directoryMode) == 0 { return }
        guard errno != EEXIST else { return }
        throw .system(operation: "mkdir", path: directory, Errno(rawValue: errno))
    }

    private static func makeWay(at path: String) throws(SocketError) {
        var status = stat()
        guard lstat(path, &status) == 0 else {
            if errno == ENOENT { return }
            throw .system(operation: "lstat", path: path, Errno(rawValue: errno))
        }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw .notASocket(path: path) }
        guard unlink(path) == 0 || errno == ENOENT else {
            throw .system(operation: "unlink", path: path, Errno(rawValue: errno))
        }
    }

    /// Listens, closed to all others until owner and mode are in place.
    private static func listen(at path: String) throws(SocketError) -> ListeningSocket {
        let socket: UnixSocket
        do throws(WireError) {
            socket = try UnixSocket.listen(path: path, mode: 0o600)
        } catch {
            throw .system(operation: "listen on", path: path, error.code)
        }
        let bound = ListeningSocket(socket: socket, path: path, identity: identity(at: path))
        try makeNonBlocking(socket, path)
        return bound
    }

    private static func identity(at path: String) -> Identity? {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        return Identity(device: status.st_dev, inode: status.st_ino)
    }

    private static func makeNonBlocking(
        _ socket: UnixSocket, _ path: String
    ) throws(SocketError) {
        let flags = fcntl(socket.rawValue, F_GETFL)
        guard flags >= 0, fcntl(socket.rawValue, F_SETFL, flags | O_NONBLOCK) == 0 else {
            throw .system(operation: "fcntl", path: path, Errno(rawValue: errno))
        }
    }

    private static func groupID(_ group: String) throws(SocketError) -> gid_t {
        if let number = gid_t(group) { return number }
        // getgrnam's result is shared by the process, getgrnam_r's lives in this buffer.
        var record = Glibc.group()
        var found: UnsafeMutablePointer<Glibc.group>?
        let error = withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64 << 10) { buffer in
            getgrnam_r(group, &record, buffer.baseAddress, buffer.count, &found)
        }
        guard error == 0, found != nil else { throw .unknownGroup(group) }
        return record.gr_gid
    }

    /// The path of a service manager's socket, once it has proved to be one that serves us.
    static func path(ofActivated fd: Int32) throws(SocketError) -> String {
        guard option(fd, SO_DOMAIN) == AF_UNIX else {
            throw .badActivation(reason: "it is no Unix socket")
        }
        guard option(fd, SO_TYPE) == Int32(SOCK_SEQPACKET.rawValue) else {
            throw .badActivation(reason: "it is not ListenSequentialPacket=")
        }
        guard option(fd, SO_ACCEPTCONN) == 1 else {
            throw .badActivation(reason: "it does not listen (Accept=yes?)")
        }
        var address = sockaddr_un()
        var length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                getsockname(fd, $0, &length)
            }
        }
        guard result == 0 else {
            throw .system(operation: "getsockname", path: "fd \(fd)", Errno(rawValue: errno))
        }
        let path = withUnsafeBytes(of: &address.sun_path) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        guard path.hasPrefix("/") else {
            throw .badActivation(reason: "it has no absolute path in the file system")
        }
        return path
    }

    private static func option(_ fd: Int32, _ name: Int32) -> Int32? {
        var value: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 else { return nil }
        return value
    }
}
