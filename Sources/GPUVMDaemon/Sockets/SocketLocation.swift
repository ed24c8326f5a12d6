import WireProtocol

/// Where a daemon listens if nobody says otherwise.
public enum SocketLocation {
    /// The longest path that fits into `sockaddr_un` with its terminator.
    public static let maximumPathBytes = UnixSocket.maxPathBytes

    /// The path for a system service.
    public static let system = "/run/gpuvmd/gpuvmd.sock"

    /// The path to listen on: `option`, else GPUVM_SOCKET, else the configured one, else the user's
    /// runtime directory, else ``system``. Clients look in the same places.
    public static func resolve(
        option: String? = nil, configured: String?, environment: [String: String]
    ) -> String {
        if let option { return option }
        if let path = environment["GPUVM_SOCKET"], !path.isEmpty { return path }
        if let configured { return configured }
        if let directory = environment["XDG_RUNTIME_DIR"], !directory.isEmpty {
            return "\(directory)/gpuvmd/gpuvmd.sock"
        }
        return system
    }

    /// Whether a path can stand in a configuration.
    static func isValidAbsolutePath(_ path: String) -> Bool {
        path.hasPrefix("/") && path.utf8.count > 1 && path.utf8.count <= maximumPathBytes
            && YAMLText.isPrintable(path)
    }
}
