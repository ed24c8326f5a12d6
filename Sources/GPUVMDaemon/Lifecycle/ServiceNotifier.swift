import Fencing
import Glibc
import WireProtocol

/// Tells a service manager how the daemon is doing: the protocol of sd_notify(3), a datagram to the
/// socket in NOTIFY_SOCKET. Without one it does nothing.
///
/// Threading: any thread; never blocks.
public struct ServiceNotifier: Sendable {
    private let address: String?

    /// Finds the manager's socket: an absolute path, or an abstract name behind `@`.
    public init(environment: [String: String]) {
        address = environment["NOTIFY_SOCKET"].flatMap { name in
            let fits = (2...SocketLocation.maximumPathBytes).contains(name.utf8.count)
            return fits && (name.hasPrefix("/") || name.hasPrefix("@")) ? name : nil
        }
    }

    /// Clients can connect, or a reload is over.
    ///
    /// - Parameter status: What `systemctl status` shows.
    public func ready(status: String) { send("READY=1\n\(Self.line(status))") }

    /// The configuration is about to be read again; ``ready(status:)`` says when that is over.
    public func reloading() {
        // The time is what a manager with Type=notify-reload tells this reload from an earlier one by.
        send("RELOADING=1\nMONOTONIC_USEC=\(Runtime.now() / 1000)")
    }

    /// The daemon lives.
    public func alive() { send("WATCHDOG=1") }

    /// The daemon ends.
    ///
    /// - Parameter nanoseconds: How long that may take.
    public func stopping(within nanoseconds: UInt64) {
        let status = Self.line("Waiting for running jobs to end")
        send("STOPPING=1\nEXTEND_TIMEOUT_USEC=\(nanoseconds / 1000)\n\(status)")
    }

    private static func line(_ status: String) -> String {
        "STATUS=" + status.replacing("\n", with: "; ")
    }

    private func send(_ state: String) {
        guard let address else { return }
        let type = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let fd = socket(AF_UNIX, type, 0)
        guard fd >= 0 else { return }
        let owned = OwnedFD(fd)
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &name.sun_path) { bytes in
            bytes.copyBytes(from: address.utf8)
            if bytes[0] == UInt8(ascii: "@") { bytes[0] = 0 }
        }
        // An abstract name is as long as it is said to be, terminators included; so no more than
        // the name's own bytes count.
        let header = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 2
        let length = socklen_t(header + address.utf8.count)
        let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
        _ = withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                state.withCString {
                    sendto(owned.rawValue, $0, state.utf8.count, flags, generic, length)
                }
            }
        }
    }
}
