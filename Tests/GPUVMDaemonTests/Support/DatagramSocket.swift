import CPlatform
import Glibc
import Testing
import WireProtocol

@testable import GPUVMDaemon

/// A socket that takes datagrams: the end of sd_notify(3), or of the journal's protocol.
final class DatagramSocket {
    private let fd: OwnedFD

    /// Binds an absolute path, or an abstract name behind `@`.
    init(_ name: String) throws {
        let number = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        try #require(number >= 0)
        fd = OwnedFD(number)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { bytes in
            bytes.copyBytes(from: name.utf8)
            if bytes[0] == UInt8(ascii: "@") { bytes[0] = 0 }
        }
        let length = socklen_t(2 + name.utf8.count)
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(number, $0, length) }
        }
        try #require(result == 0)
    }

    /// The next datagram; nil after `milliseconds`.
    func nextBytes(milliseconds: Int32 = 10_000) -> [UInt8]? {
        guard becomesReadable(fd.rawValue, milliseconds: milliseconds) else { return nil }
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        return buffer.withUnsafeMutableBytes { bytes in
            var message = gpuvm_message()
            message.bytes = bytes.baseAddress
            message.length = bytes.count
            let count = gpuvm_receive(fd.rawValue, &message, 0)
            guard count >= 0 else { return nil }
            guard message.fd_count == 1 else { return [UInt8](bytes[..<count]) }
            return Self.contents(ofSealed: OwnedFD(message.fds.0))
        }
    }

    /// The next datagram as text; nil after `milliseconds`.
    func next(milliseconds: Int32 = 10_000) -> String? {
        nextBytes(milliseconds: milliseconds).map { String(decoding: $0, as: UTF8.self) }
    }

    /// What journald reads: a file that is sealed against every change.
    private static func contents(ofSealed file: consuming OwnedFD) -> [UInt8]? {
        // F_SEAL_SEAL, SHRINK, GROW and WRITE (linux/fcntl.h), and no other: see journald's memfd-util.c.
        guard gpuvm_get_seals(file.rawValue) == 0xF else { return nil }
        var status = stat()
        guard fstat(file.rawValue, &status) == 0 else { return nil }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        let count = pread(file.rawValue, &bytes, bytes.count, 0)
        return count == bytes.count ? bytes : nil
    }
}
