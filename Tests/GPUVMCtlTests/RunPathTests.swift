import Foundation
import Glibc
import TestSupport
import Testing

@testable import gpuvmctl

/// `gpuvmctl run` with paths that are relative, unusable in LD_PRELOAD, or not of plain files.
@Suite("Paths of runs", .enabled(if: RunFixture.isPossible), .timeLimit(.minutes(2)))
struct RunPathTests {
    private let fixture: RunFixture

    init() throws { fixture = try RunFixture() }

    /// Runs gpuvmctl in the fixture's directory, with variables set; for 20 s at most.
    private func run(
        _ variables: [String] = [], _ arguments: [String]
    ) throws -> (exit: ChildProcess.Exit, output: String) {
        try output(
            of: "/bin/sh",
            [
                "-c", "cd \"$0\" && exec timeout -s KILL 20 env \"$@\" 2>&1",
                fixture.directory.path, "TMPDIR=\(fixture.path("tmp"))",
            ] + variables + [try gpuvmctlPath(), "run"] + arguments)
    }

    /// A program that goes elsewhere before it looks for the GPU.
    private static let elsewhere = [
        "--", "/bin/sh", "-c", "cd / && exec \"$0\" binds", RunFixture.program,
    ]

    @Test("A program that changes its directory keeps the GPU of a relative TMPDIR")
    func relativeTemporaryDirectory() throws {
        let result = try run(["TMPDIR=tmp"], ["--require-ioctls", "14"] + Self.elsewhere)
        #expect(result.exit == .status(0), "\(result.output)")
        #expect(fixture.leftovers.isEmpty)
    }

    @Test("A relative --daemon, through symbolic links too, is the same daemon everywhere")
    func relativeDaemon() throws {
        try #require(mkdir(fixture.path("real"), 0o700) == 0)
        try #require(symlink("real", fixture.path("folder")) == 0)
        try #require(symlink("real/s", fixture.path("link")) == 0)
        try withDaemon(at: fixture.path("real/s")) { _ in
            for path in ["real/s", "./folder/../real/s", "folder/s", "link"] {
                let result = try run([], ["--daemon", path, "--quiet"] + Self.elsewhere)
                #expect(result.exit == .status(0), "\(path): \(result.output)")
            }
        }
    }

    @Test("A relative path of the shim is made absolute")
    func relativeShim() throws {
        try #require(
            symlink(RunFixture.product("libgpuvm-drm-shim.so"), fixture.path("shim.so")) == 0)
        let result = try run(
            ["GPUVM_SHIM_LIBRARY=shim.so"], ["--quiet"] + Self.elsewhere)
        #expect(result.exit == .status(0), "\(result.output)")
    }

    @Test("A shim that LD_PRELOAD cannot name is refused", arguments: ["a b", "a:b"])
    func separators(_ folder: String) throws {
        try #require(mkdir(fixture.path(folder), 0o700) == 0)
        let copy = fixture.path("\(folder)/shim.so")
        try FileManager.default.copyItem(
            atPath: RunFixture.product("libgpuvm-drm-shim.so"), toPath: copy)
        let result = try run(
            ["GPUVM_SHIM_LIBRARY=\(copy)"], ["--quiet", "--", "/bin/sh", "-c", "echo started"])
        #expect(result.exit == .status(69))
        #expect(result.output.contains("\(copy) cannot be preloaded"), "\(result.output)")
        #expect(result.output.contains("LD_PRELOAD"), "\(result.output)")
        #expect(!result.output.contains("started"))
        #expect(fixture.leftovers.isEmpty)
    }

    @Test(
        "A FIFO that nobody reads is an error, not waited for",
        arguments: ["--trace", "--summary-json", "--log"])
    func unreadFIFO(_ option: String) throws {
        let path = fixture.path("fifo")
        try #require(mkfifo(path, 0o600) == 0)
        let result = try run([], [option, path, "--", "/bin/sh", "-c", "echo started"])
        #expect(result.exit == .status(73), "\(result.output)")
        #expect(result.output.contains("it is a FIFO that nobody reads"), "\(result.output)")
        #expect(result.output.contains(path))
        #expect(!result.output.contains("started"))
        #expect(fixture.leftovers.isEmpty)
    }

    @Test("A FIFO with a reader gets everything")
    func readFIFO() throws {
        let path = fixture.path("fifo")
        try #require(mkfifo(path, 0o600) == 0)
        // Its pages are fewer than the trace's bytes: writes wait for the reader.
        let reader = try ChildProcess(
            "/bin/sh", ["-c", "{ sleep 0.3; cat; } < \(path) > \(fixture.path("copy"))"], fds: [])
        // Both ends open wait for each other; this end is gone when the run has its own.
        let held = open(path, O_WRONLY | O_CLOEXEC)
        try #require(held >= 0)
        // F_SETPIPE_SZ, which Glibc does not bring over.
        _ = fcntl(held, 1031, 4096)
        let result = try run(
            [], ["--quiet", "--trace", path, "--", RunFixture.program, "binds"])
        close(held)
        #expect(reader.wait() == .status(0))
        #expect(result.exit == .status(0), "\(result.output)")
        let lines = try fixture.lines("copy")
        #expect(lines.last?["event"] as? String == "end")
        #expect(lines.count == 25)
    }
}
