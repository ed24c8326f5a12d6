import CPlatform
import Fencing
import Glibc
import WireProtocol

/// The journal's socket for records with fields.
///
/// A record is a datagram; one that is too large for it travels as a sealed memfd. Nothing here
/// waits: a journal that does not keep up makes ``send(_:)`` say no.
///
/// Threading: any thread, with any lock held but one of class `leaf`.
final class JournalSocket: Sendable {
    /// Where systemd-journald listens.
    static let standardPath = "/run/systemd/journal/socket"

    private let path: String
    private let fd: Guarded<OwnedFD>

    /// Connects to the journal; nil if nobody listens at `path`.
    init?(path: String = standardPath) {
        guard let fd = Self.connected(to: path) else { return nil }
        self.path = path
        self.fd = Guarded(.leaf, fd)
    }

    /// Hands a record over; false if it could not be had without waiting, or the journal is gone.
    func send(_ record: JournalRecord) -> Bool {
        fd.withLock { fd in
            var result = Self.send(record.bytes, on: fd.rawValue)
            if Self.meansAnotherJournal(-result), let new = Self.connected(to: path) {
                fd = new
                result = Self.send(record.bytes, on: fd.rawValue)
            }
            return result >= 0
        }
    }

    /// Whether who was connected to is gone, and somebody else may listen by now.
    private static func meansAnotherJournal(_ error: Int) -> Bool {
        [ECONNREFUSED, ENOTCONN, EPIPE].contains(Int32(clamping: error))
    }

    private static func connected(to path: String) -> OwnedFD? {
        guard (1...SocketLocation.maximumPathBytes).contains(path.utf8.count) else { return nil }
        let type = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let number = socket(AF_UNIX, type, 0)
        guard number >= 0 else { return nil }
        let owned = OwnedFD(number)
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path.utf8) }
        let length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(number, $0, length)
            }
        }
        guard result == 0 else { return nil }
        return owned
    }

    /// Bytes sent, or -errno.
    private static func send(_ bytes: [UInt8], on socket: Int32) -> Int {
        let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
        let sent = Glibc.send(socket, bytes, bytes.count, flags)
        if sent >= 0 { return sent }
        let error = errno
        guard error == EMSGSIZE || error == ENOBUFS else { return -Int(error) }
        return sendFile(bytes, on: socket)
    }

    /// Sends the bytes in a file that nobody can change any more.
    private static func sendFile(_ bytes: [UInt8], on socket: Int32) -> Int {
        let created = gpuvm_memfd_create_plain("gpuvmd-log")
        guard created >= 0 else { return Int(created) }
        let file = OwnedFD(created)
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes {
                write(file.rawValue, $0.baseAddress, $0.count)
            }
            guard count > 0 else { return -Int(count < 0 ? errno : EIO) }
            written += count
        }
        // journald reads no file whose bytes could change under it.
        let seals = GPUVM_SEAL_SEAL | GPUVM_SEAL_SHRINK | GPUVM_SEAL_GROW | GPUVM_SEAL_WRITE
        let sealed = gpuvm_add_seals(file.rawValue, seals)
        guard sealed == 0 else { return Int(sealed) }
        var message = gpuvm_message()
        message.fds.0 = file.rawValue
        message.fd_count = 1
        return gpuvm_send(socket, &message, Int32(MSG_DONTWAIT))
    }
}
