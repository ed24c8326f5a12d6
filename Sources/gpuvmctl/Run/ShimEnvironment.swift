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
    private let explains: Bool

    /// Finds the shim beside this program, or where `make install` puts it.
    ///
    /// - Throws: ENOENT, with where it was looked for.
    init(socket: String, explains: Bool) throws(WireError) {
        let own = ChildProcess.ownPath() ?? ""
        let folder = own.lastIndex(of: "/").map { String(own[..<$0]) } ?? "."
        let candidates = [
            getenv("GPUVM_SHIM_LIBRARY").map { String(cString: $0) },
            "\(folder)/libgpuvm-drm-shim.so", "\(folder)/../lib/gpuvmd/libgpuvm-drm-shim.so",
        ].compactMap(\.self)
        guard let library = candidates.first(where: { access($0, R_OK) == 0 }) else {
            throw WireError(
                .noSuchFileOrDirectory,
                "the DRM shim is not at \(candidates.joined(separator: ", ")): run `make shim`")
        }
        // Where the daemon writes it.
        tree = socket + ".tree"
        guard access(tree, R_OK | X_OK) == 0 else {
            throw WireError(
                Errno(rawValue: ENODEV), "the daemon presents no DRM device: no \(tree)")
        }
        self.library = library
        self.socket = socket
        self.explains = explains
    }

    /// Starts a program under the shim, in this root or in another one.
    ///
    /// - Parameter inherited: This process's environment.
    func launch(
        _ words: [String], root: String?, inherited: [String], _ rest: ProgramProcess.Inheritance
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
