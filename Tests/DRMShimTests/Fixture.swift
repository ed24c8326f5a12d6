import Foundation
import Glibc
import Testing

/// The probe program, the shim and a directory with a device tree and a fake daemon's socket.
///
/// Threading: one thread.
final class Fixture {
    struct Result {
        var status: Int32
        var output: String
    }

    let directory: String
    private var daemon: Process?

    /// Where the package manager puts what it builds: beside the test bundle.
    private static func product(_ name: String) -> String {
        let bundle = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        return URL(filePath: bundle ?? "/").deletingLastPathComponent().appending(path: name)
            .path()
    }

    /// Says that a real part is missing, which is an error where everything should be at hand.
    static func skip(_ reason: String) {
        if ProcessInfo.processInfo.environment["CI"] == "true" {
            Issue.record("skipped in CI: \(reason)")
        } else {
            print("skipped: \(reason)")
        }
    }

    static let shim = product("libgpuvm-drm-shim.so")
    static let control = product("gpuvmctl")
    static let probe = product("DRMShimProbe")

    var socket: String { directory + "/socket" }
    var tree: String { directory + "/tree" }

    init() throws {
        try #require(
            access(Self.shim, R_OK) == 0 && access(Self.probe, X_OK) == 0,
            "swift build --build-tests makes \(Self.shim) and \(Self.probe)")
        var template = Array("/tmp/gpuvm-shim-XXXXXX".utf8CString)
        directory = String(cString: try #require(mkdtemp(&template)))
        let written = try run(Self.probe, ["tree", tree], preloaded: false)
        try #require(written.status == 0, "\(written.output)")
    }

    deinit {
        if let daemon {
            kill(daemon.processIdentifier, SIGKILL)
            daemon.waitUntilExit()
        }
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// Starts the fake daemon and returns when it listens.
    func startDaemon() throws {
        let process = Process()
        let pipe = Pipe()
        process.executableURL = URL(filePath: Self.probe)
        process.arguments = ["daemon", socket]
        process.standardOutput = pipe
        try process.run()
        daemon = process
        let line = try pipe.fileHandleForReading.read(upToCount: 6)
        try #require(line == Data("ready\n".utf8))
    }

    /// Runs a program to its end: its exit status, and what it wrote on both outputs.
    func run(
        _ program: String, _ arguments: [String], preloaded: Bool,
        environment extra: [String: String] = [:]
    ) throws -> Result {
        var environment = [
            "PATH": "/usr/bin:/bin", "LC_ALL": "C", "GPUVM_SOCKET": socket,
            "GPUVM_SHIM_TREE": tree,
        ]
        if preloaded { environment["LD_PRELOAD"] = Self.shim }
        environment.merge(extra) { _, new in new }
        let process = Process()
        let pipe = Pipe()
        // Foundation's children have its blocked signals, on which a debugger hangs.
        process.executableURL = URL(filePath: Self.probe)
        process.arguments = ["exec", program] + arguments
        process.environment = environment
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return Result(
            status: process.terminationReason == .exit
                ? process.terminationStatus : -process.terminationStatus,
            output: String(decoding: output, as: UTF8.self))
    }
}
