import CPlatform
import Glibc
import SystemPackage

/// A SOCK_SEQPACKET Unix socket: message boundaries, file descriptors and the peer's credentials.
///
/// Every descriptor that it makes or receives is close-on-exec.
///
/// Threading: any thread; messages of concurrent senders do not mix. ``shutdown()`` wakes whoever
/// is blocked in ``receive(into:blocking:)`` or ``accept()``.
public final class UnixSocket: Sendable {
    /// Who is at the other end, as the kernel recorded it when the connection was made.
    public struct Credentials: Equatable, Sendable {
        /// The process that connected.
        public let pid: Int32
        /// Its effective user.
        public let uid: UInt32
        /// Its effective group.
        public let gid: UInt32
    }

    /// The longest path of a Unix socket, in bytes without the terminator.
    public static let maxPathBytes = 107

    private let fd: OwnedFD

    /// The descriptor's number, for poll(2); it stays the socket's.
    public var rawValue: Int32 { fd.rawValue }

    /// Takes over an existing socket: a listener of a service manager, an end of a pair.
    public init(adopting fd: consuming OwnedFD) {
        self.fd = fd
    }

    /// Binds `path` and listens; the socket file gets the modes of `mode`.
    ///
    /// - Throws: ENAMETOOLONG, EADDRINUSE when the path exists, EACCES, ENOENT.
    public static func listen(
        path: String, mode: mode_t = 0o600, backlog: Int32 = 128
    ) throws(WireError) -> UnixSocket {
        let socket = try make(path: path)
        try withAddress(path) { address, length throws(WireError) in
            // The mode is in place before listen(2), so nobody can connect earlier than that.
            guard Glibc.bind(socket.rawValue, address, length) == 0 else {
                throw WireError(.lastSystemError, "the socket \(path) cannot be bound")
            }
        }
        guard chmod(path, mode) == 0, Glibc.listen(socket.rawValue, backlog) == 0 else {
            let error = Errno.lastSystemError
            unlink(path)
            throw WireError(error, "the socket \(path) cannot be listened on")
        }
        return socket
    }

    /// Connects to the listener at `path`.
    ///
    /// - Throws: ENAMETOOLONG, ENOENT, ECONNREFUSED when nobody listens, EACCES.
    public static func connect(path: String) throws(WireError) -> UnixSocket {
        let socket = try make(path: path)
        try withAddress(path) { address, length throws(WireError) in
            while Glibc.connect(socket.rawValue, address, length) != 0 {
                let error = Errno.lastSystemError
                guard error != .interrupted else { continue }
                throw WireError(error, "cannot connect to the socket \(path)")
            }
        }
        return socket
    }

    /// Two connected sockets.
    ///
    /// - Throws: EMFILE or ENFILE.
    public static func pair() throws(WireError) -> (UnixSocket, UnixSocket) {
        var fds: (Int32, Int32) = (-1, -1)
        let result = withUnsafeMutableBytes(of: &fds) { bytes in
            gpuvm_socket_pair(bytes.assumingMemoryBound(to: Int32.self).baseAddress)
        }
        guard result == 0 else {
            throw WireError(Errno(rawValue: -result), "a socket pair cannot be created")
        }
        return (UnixSocket(adopting: OwnedFD(fds.0)), UnixSocket(adopting: OwnedFD(fds.1)))
    }

    /// Accepts the next connection of a listener; blocks until there is one.
    ///
    /// - Throws: EINVAL after ``shutdown()``; EMFILE, ENFILE; EAGAIN on a non-blocking socket.
    public func accept() throws(WireError) -> UnixSocket {
        while true {
            let fd = gpuvm_accept(rawValue)
            if fd >= 0 { return UnixSocket(adopting: OwnedFD(fd)) }
            let error = Errno(rawValue: -fd)
            // A peer that left before it was accepted is no error of the listener's.
            if error == .interrupted || error == .connectionAbort { continue }
            throw WireError(error, "a connection cannot be accepted")
        }
    }

    /// Receives the next message; blocks for it if `blocking`.
    ///
    /// - Returns: Nil at the end of the stream. The bytes lie in `buffer`, until it is used again; a
    ///   message may have none.
    /// - Throws: EAGAIN when there is none and `blocking` is false; ECONNRESET.
    public func receive(
        into buffer: borrowing MessageBuffer, blocking: Bool = true
    ) throws(WireError) -> ReceivedMessage? {
        var message = gpuvm_message()
        message.bytes = buffer.bytes.baseAddress
        message.length = buffer.bytes.count
        let result = gpuvm_receive(rawValue, &message, blocking ? 0 : Int32(MSG_DONTWAIT))
        guard result >= 0 else {
            throw WireError(Errno(rawValue: Int32(-result)), "a message cannot be received")
        }
        let fds = FDList(adopting: message)
        if result == 0, fds.count == 0, gpuvm_has_ended(rawValue) != 0 { return nil }
        return ReceivedMessage(
            bytes: UnsafeRawBufferPointer(rebasing: buffer.bytes[0..<result]), fds: fds,
            bytesWereCut: message.truncated & 1 != 0, fdsWereCut: message.truncated & 2 != 0)
    }

    /// Sends one message, whole or not at all.
    ///
    /// - Returns: False when the peer's buffer is full and `blocking` is false (EAGAIN).
    /// - Throws: EPIPE or ECONNRESET when the peer is gone, EMSGSIZE, ETOOMANYREFS.
    public func send(
        _ bytes: UnsafeRawBufferPointer, fds: borrowing FDList, blocking: Bool
    ) throws(WireError) -> Bool {
        var message = gpuvm_message()
        // sendmsg reads only.
        message.bytes = UnsafeMutableRawPointer(mutating: bytes.baseAddress)
        message.length = bytes.count
        fds.copy(to: &message)
        let result = gpuvm_send(rawValue, &message, blocking ? 0 : Int32(MSG_DONTWAIT))
        if result >= 0 { return true }
        let error = Errno(rawValue: Int32(-result))
        if error == .resourceTemporarilyUnavailable && !blocking { return false }
        throw WireError(error, "a message of \(bytes.count) bytes cannot be sent")
    }

    /// Ends the stream in both directions; blocked callers return, the peer sees the end.
    public func shutdown() {
        Glibc.shutdown(rawValue, Int32(SHUT_RDWR))
    }

    /// Who is at the other end.
    public func peerCredentials() throws(WireError) -> Credentials {
        var pid: Int32 = 0
        var uid: UInt32 = 0
        var gid: UInt32 = 0
        let result = gpuvm_peer_credentials(rawValue, &pid, &uid, &gid)
        guard result == 0 else {
            throw WireError(Errno(rawValue: -result), "the peer's credentials cannot be read")
        }
        return Credentials(pid: pid, uid: uid, gid: gid)
    }

    /// Whether the peer has closed its end or died; costs one poll(2), never blocks.
    public func peerHasHungUp() -> Bool {
        // POLLHUP is reported unasked; a Unix socket has it as soon as its peer is closed.
        var descriptor = pollfd(fd: rawValue, events: 0, revents: 0)
        return poll(&descriptor, 1, 0) > 0
    }

    private static func make(path: String) throws(WireError) -> UnixSocket {
        let bytes = path.utf8.count
        guard bytes > 0 else {
            throw WireError(.noSuchFileOrDirectory, "the path of the socket is empty")
        }
        guard bytes <= maxPathBytes else {
            throw WireError(
                .fileNameTooLong,
                """
                the socket path \(path) has \(bytes) bytes and a Unix socket's may have \
                \(maxPathBytes): choose a shorter one
                """)
        }
        let type = Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let fd = Glibc.socket(AF_UNIX, type, 0)
        guard fd >= 0 else { throw WireError(.lastSystemError, "a socket cannot be created") }
        return UnixSocket(adopting: OwnedFD(fd))
    }

    private static func withAddress(
        _ path: String,
        _ body: (UnsafePointer<sockaddr>, socklen_t) throws(WireError) -> Void
    ) throws(WireError) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // make(path:) has checked the length, so the terminator fits too.
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let pointer = UnsafeMutableRawPointer.allocate(
            byteCount: MemoryLayout<sockaddr_un>.size,
            alignment: MemoryLayout<sockaddr_un>.alignment)
        defer { pointer.deallocate() }
        pointer.storeBytes(of: address, as: sockaddr_un.self)
        try body(UnsafePointer(pointer.assumingMemoryBound(to: sockaddr.self)), length)
    }
}
