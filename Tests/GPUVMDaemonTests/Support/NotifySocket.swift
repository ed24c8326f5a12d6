import Glibc
import Testing
import WireProtocol

/// The service manager's end of sd_notify(3).
final class NotifySocket {
    private let fd: OwnedFD

    init(_ name: String) throws {
        let number = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
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

    /// The next datagram; nil after 10 s.
    func next() -> String? {
        guard becomesReadable(fd.rawValue) else { return nil }
        var buffer = [UInt8](repeating: 0, count: 256)
        let count = recv(fd.rawValue, &buffer, buffer.count, 0)
        return count > 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
    }
}
