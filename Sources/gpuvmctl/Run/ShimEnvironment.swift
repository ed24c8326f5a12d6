import Glibc
import SystemPackage
import WireProtocol

/// What a program needs to meet the shim instead of the kernel.
///
/// Threading: one thread.
struct ShimEnvironment {
    private let library: String
    private let socket: String
    private let tree: String
    private let root: String?
    private let explains: Bool

    /// Finds the shim beside this program, or where `make install` puts it.
    ///
    /// All paths become absolute: the program may go to another directory.
    ///
    /// - Parameters:
    ///   - socket: Of a daemon that runs.
    ///   - root: The root file system of the program, if it is another one.
    /// - Throws: ENOENT, with where the shim was looked for; why the program could not use a path.
    init(socket: String, root: String?, explains: Bool) throws(WireError) {
        let own = ChildProcess.ownPath() ?? ""
        let folder = own.lastIndex(of: "/").map { String(own[..<$0]) } ?? "."
        let candidates = [
            getenv("GPUVM_SHIM_LIBRARY").map { String(cString: $0) },
            "\(folder)/libgpuvm-drm-shim.so", "\(folder)/../lib/gpuvmd/libgpuvm-drm-shim.so",
        ].compactMap(\.self)
        guard let found = candidates.first(where: { access($0, R_OK) == 0 }),
            let library = Self.canonical(found)
        else {
            throw WireError(
                .noSuchFileOrDirectory,
                "the DRM shim is not at \(candidates.joined(separator: ", ")): run `make shim`")
        }
        guard let socket = Self.canonical(socket) else {
            throw WireError(Errno(rawValue: errno), "the daemon's socket \(socket)")
        }
        // Where the daemon writes it; the shim compares paths with it.
        guard let tree = Self.canonical(socket + ".tree"), access(tree, R_OK | X_OK) == 0 else {
            throw WireError(
                Errno(rawValue: ENODEV), "the daemon presents no DRM device: no \(socket).tree")
        }
        if root == nil { try Self.check(library: library, socket: socket) }
        self.library = library
        self.socket = socket
        self.tree = tree
        self.root = root
        self.explains = explains
    }

    /// A path without symbolic links and relative parts; nil, with errno, if nothing is there.
    static func canonical(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// In the program's own root the paths are used as they are; in another one they are ours.
    private static func check(library: String, socket: String) throws(WireError) {
        guard !library.contains(where: { $0 == " " || $0 == ":" }) else {
            throw WireError(
                .invalidArgument,
                """
                the DRM shim at \(library) cannot be preloaded: spaces and colons separate the \
                libraries in LD_PRELOAD, so its path must have none
                """)
        }
        guard socket.utf8.count < MemoryLayout.size(ofValue: sockaddr_un().sun_path) else {
            throw WireError(
                .fileNameTooLong, "the daemon's socket \(socket) has too long a path for a socket")
        }
    }

    /// Starts a program under the shim, in this root or in another one.
    ///
    /// - Parameter inherited: This process's environment.
    func launch(
        _ words: [String], inherited: [String], _ rest: ProgramProcess.Inheritance
    ) throws(WireError) -> ProgramProcess {
        guard let root else {
            return try ProgramProcess(
                words, environment: environment(from: inherited), rest)
        }
        let variables = [
            "LD_PRELOAD=\(Self.inside)/shim.so", "GPUVM_SOCKET=\(Self.inside)/socket",
            "GPUVM_SHIM_TREE=\(Self.inside)/tree", "GPUVM_SHIM_DEBUG=\(explains ? 1 : 0)",
        ]
        return try ProgramProcess(
            [
                "/usr/bin/unshare", "-m", "/bin/sh", "-c", Self.script, "sh", root, library,
                socket, tree, "/usr/bin/env",
            ] + variables + words, environment: inherited, rest)
    }

    /// The inherited environment with what the shim reads; other preloaded libraries stay, after it.
    private func environment(from inherited: [String]) -> [String] {
        var preload = library
        if let old = inherited.first(where: { $0.hasPrefix("LD_PRELOAD=") }) {
            let others = old.dropFirst("LD_PRELOAD=".count)
            if !others.isEmpty { preload += ":" + others }
        }
        let own = [
            "LD_PRELOAD=\(preload)", "GPUVM_SOCKET=\(socket)", "GPUVM_SHIM_TREE=\(tree)",
            "GPUVM_SHIM_DEBUG=\(explains ? 1 : 0)",
        ]
        let names = own.map { $0.prefix { $0 != "=" } + "=" }
        return inherited.filter { entry in !names.contains { entry.hasPrefix($0) } } + own
    }

    /// Where the other root finds our files.
    private static let inside = "/run/gpuvm-shim"

    /// Mounts of a namespace of its own, which end with the program.
    private static let script = """
        set -e
        root=$1 library=$2 socket=$3 tree=$4
        shift 4
        for folder in proc dev sys; do mount --rbind /$folder "$root/$folder"; done
        mount -t tmpfs tmpfs "$root/run"
        mkdir "$root\(inside)" "$root\(inside)/tree"
        cp "$library" "$root\(inside)/shim.so"
        : > "$root\(inside)/socket"
        mount --bind "$socket" "$root\(inside)/socket"
        mount --bind "$tree" "$root\(inside)/tree"
        mount -t tmpfs tmpfs "$root/tmp"
        exec chroot "$root" "$@"
        """
}
