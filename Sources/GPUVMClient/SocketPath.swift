import Glibc

/// Where the daemon's socket is looked for.
public enum SocketPath {
    /// What every user can connect to, if the daemon runs as a system service.
    public static let system = "/run/gpuvmd/gpuvmd.sock"

    /// The paths to try, in this order: `explicit` alone if given, else GPUVM_SOCKET alone if set,
    /// else the one in XDG_RUNTIME_DIR and then ``system``.
    public static func candidates(explicit: String? = nil) -> [String] {
        candidates(explicit: explicit) { name in getenv(name).map { String(cString: $0) } }
    }

    static func candidates(
        explicit: String?, environment: (String) -> String?
    ) -> [String] {
        if let explicit { return [explicit] }
        // Whoever names a socket does not want another one to be used in silence.
        if let path = environment("GPUVM_SOCKET"), !path.isEmpty { return [path] }
        var paths: [String] = []
        if let directory = environment("XDG_RUNTIME_DIR"), !directory.isEmpty {
            paths.append("\(directory)/gpuvmd/gpuvmd.sock")
        }
        paths.append(system)
        return paths
    }
}
