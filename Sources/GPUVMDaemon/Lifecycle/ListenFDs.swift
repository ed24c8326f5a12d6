import Glibc
import WireProtocol

/// The sockets that a service manager has opened for this process: the protocol of
/// sd_listen_fds(3), descriptors from 3 on.
public enum ListenFDs {
    private static let first: Int32 = 3

    /// Takes over the passed socket, once in a process; nil if none is meant for it.
    ///
    /// The variables are removed from the process's environment, so that no child takes them as
    /// its own. Call it before other threads start.
    ///
    /// - Throws: ``SocketError/badActivation(reason:)`` for anything but one descriptor.
    public static func take(environment: [String: String]) throws(SocketError) -> OwnedFD? {
        guard let count = try count(environment: environment, processID: getpid()) else {
            return nil
        }
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unsetenv(name) }
        for fd in first..<(first + count) {
            guard fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 else {
                throw .badActivation(reason: "descriptor \(fd) is not open")
            }
        }
        guard count == 1 else {
            throw .badActivation(reason: "\(count) sockets were passed, one is needed")
        }
        return OwnedFD(first)
    }

    /// The number of descriptors passed to this process; nil if the variables mean another one.
    static func count(
        environment: [String: String], processID: Int32
    ) throws(SocketError) -> Int32? {
        guard let pid = environment["LISTEN_PID"], let text = environment["LISTEN_FDS"] else {
            return nil
        }
        guard Int32(pid) == processID else { return nil }
        guard let count = Int32(text), (0...Self.maximum).contains(count) else {
            throw .badActivation(reason: "LISTEN_FDS is \(text)")
        }
        return count == 0 ? nil : count
    }

    private static let maximum: Int32 = 1024
}
