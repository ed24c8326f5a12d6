import SystemPackage

/// Why a daemon cannot have its socket.
public enum SocketError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Another daemon lives behind the path; its process, if its lock file tells.
    case ownedByLivingDaemon(path: String, pid: Int32?)
    /// The path is taken by something that is no socket; it was left alone.
    case notASocket(path: String)
    /// The path does not fit into `sockaddr_un`.
    case pathTooLong(path: String, bytes: Int)
    /// The group is unknown to the system.
    case unknownGroup(String)
    /// The descriptors that the service manager passed are not one listening SOCK_SEQPACKET socket.
    case badActivation(reason: String)
    /// A system call failed.
    case system(operation: String, path: String, Errno)

    /// What is wrong, with the path, and what to do about it where that is not plain.
    public var description: String {
        switch self {
        case .ownedByLivingDaemon(let path, let pid?):
            "another gpuvmd (pid \(pid)) already serves \(path)"
        case .ownedByLivingDaemon(let path, nil):
            "another gpuvmd already serves \(path)"
        case .notASocket(let path):
            "\(path) exists and is no socket; it was left alone: choose another path or remove it"
        case .pathTooLong(let path, let bytes):
            """
            the socket path \(path) has \(bytes) bytes and may have \
            \(SocketLocation.maximumPathBytes)
            """
        case .unknownGroup(let group):
            "the group \(group) of socket.group does not exist"
        case .badActivation(let reason):
            "the service manager's socket cannot be used: \(reason)"
        case .system(let operation, let path, let errno):
            "\(operation) \(path): \(errno)"
        }
    }
}
