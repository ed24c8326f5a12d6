import Foundation
import Glibc
import TestSupport
import Testing

@testable import gpuvmctl

/// `gpuvmctl run`: the program's own business stays its own.
@Suite("Running programs", .enabled(if: RunFixture.isPossible), .timeLimit(.minutes(2)))
struct RunTests {
    private let fixture: RunFixture

    init() throws { fixture = try RunFixture() }

    @Test("The program's status, streams and words are its own", arguments: [0, 1, 77, 255])
    func status(_ status: Int32) throws {
        let result = try fixture.run(
            ["--quiet", "--", "/bin/sh", "-c", "cat; echo out $0; echo err >&2; exit \(status)"])
        #expect(result.exit == .status(status))
        #expect(result.output == "out /bin/sh\n")
        #expect(result.errors == "err\n")
        #expect(fixture.leftovers.isEmpty)
    }

    @Test("A program that a signal ends ends the run the same way", arguments: [SIGKILL, SIGSEGV])
    func signal(_ number: Int32) throws {
        let result = try fixture.run(["--", "/bin/sh", "-c", "kill -\(number) $$"])
        #expect(result.exit == .signal(number))
        #expect(result.summary["run:"]?.hasPrefix("0 ioctls") == true, "\(result.errors)")
        #expect(fixture.leftovers.isEmpty)
    }

    /// Reads until the program is ready, then sends a signal to gpuvmctl alone.
    private func interrupt(
        _ number: Int32, _ words: [String]
    ) throws -> (exit: ChildProcess.Exit, output: String) {
        var ends: [Int32] = [-1, -1]
        try #require(pipe(&ends) == 0)
        // Other tests' programs would hold the writing end.
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        let errors = try fixture.file("stderr")
        defer {
            close(ends[0])
            close(errors)
        }
        let child = try fixture.start(["--"] + words, output: ends[1], errors: errors)
        close(ends[1])
        var output = ""
        var buffer = [UInt8](repeating: 0, count: 4096)
        var isReady = false
        while true {
            let count = read(ends[0], &buffer, buffer.count)
            if count <= 0 { break }
            output += String(decoding: buffer.prefix(count), as: UTF8.self)
            if !isReady, output.contains("ready\n") {
                isReady = true
                // /usr/bin/env has become gpuvmctl: its process id stays.
                kill(child.pid, number)
            }
        }
        return (child.wait(), output)
    }

    @Test("What is sent to gpuvmctl reaches the program, once")
    func relay() throws {
        let counted = try interrupt(SIGTERM, [RunFixture.program, "count-signals"])
        #expect(counted.exit == .status(43))
        #expect(counted.output == "ready\nSIGINT 0 SIGTERM 1\n")
        #expect(fixture.leftovers.isEmpty)
    }

    @Test("A signal that ends the program ends gpuvmctl, which has cleaned up")
    func relayedEnd() throws {
        for number in [SIGINT, SIGTERM, SIGHUP] {
            let ended = try interrupt(
                number, ["/bin/sh", "-c", "echo ready; exec sleep 60"])
            #expect(ended.exit == .signal(number))
            #expect(fixture.leftovers.isEmpty)
        }
    }

    @Test("An interrupt typed at a terminal reaches both, the program once")
    func terminal() throws {
        let result = try output(
            of: RunFixture.program,
            [
                "terminal", try gpuvmctlPath(), "run", "--quiet", "--", RunFixture.program,
                "count-signals",
            ])
        #expect(result.0 == .status(42))
        #expect(result.1.contains("SIGINT 1 SIGTERM 0"), "\(result.1)")
    }

    @Test("The limit of descriptors is the caller's, not the daemon's")
    func limits() throws {
        let result = try fixture.run(
            ["--quiet", "--", "/bin/sh", "-c", "ulimit -Sn"])
        var limit = rlimit()
        getrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit)
        #expect(result.output == "\(limit.rlim_cur)\n")
    }

    @Test("Other preloaded libraries stay behind the shim")
    func preload() throws {
        let path = fixture.path("none.so")
        let result = try output(
            of: "/usr/bin/env",
            [
                "LD_PRELOAD=\(path)", try gpuvmctlPath(), "run", "--quiet", "--", "/bin/sh", "-c",
                "echo $LD_PRELOAD",
            ])
        #expect(result.1.hasSuffix("/libgpuvm-drm-shim.so:\(path)\n"), "\(result.1)")
    }

    @Test("What cannot be started says so as a shell does")
    func notStarted() throws {
        let missing = try fixture.run(["--", fixture.path("missing")])
        #expect(missing.exit == .status(127))
        #expect(missing.errors.contains("missing cannot be started"))
        let plain = try fixture.directory.write("plain", "no program\n")
        #expect(try fixture.run(["--", plain]).exit == .status(126))
        #expect(fixture.leftovers.isEmpty)
    }

    @Test("An unknown GPU is refused, and those that there are are named")
    func unknownDevice() throws {
        let result = try fixture.run(["--device", "nv1", "--", "/bin/sh", "-c", "echo started"])
        #expect(result.exit == .status(64))
        #expect(result.errors.contains("no GPU is called nv1: there are tu104, ad104"))
        #expect(result.output.isEmpty)
    }

    @Test("A file that cannot be made is an error before the program starts")
    func unwritable() throws {
        for option in ["--trace", "--summary-json", "--log"] {
            let path = fixture.path("none/file")
            let result = try fixture.run([option, path, "--", "/bin/sh", "-c", "echo started"])
            #expect(result.exit == .status(73), "\(option)")
            #expect(result.errors.contains(path), "\(result.errors)")
            #expect(result.output.isEmpty)
        }
        #expect(fixture.leftovers.isEmpty)
    }

    @Test("A trace that cannot be written to its end fails the run")
    func fullDisk() throws {
        let result = try fixture.run(["--trace", "/dev/full", "--", RunFixture.program, "binds"])
        // Already the first line does not go out.
        #expect(result.exit == .status(73))
        #expect(result.errors.contains("/dev/full: the trace cannot be written"))
    }

    @Test(
        "What only an own daemon can do is refused with another one",
        arguments: [
            ["--trace", "x"], ["--picture"], ["--log", "x"], ["--config", "x"],
        ])
    func ownDaemonOnly(_ options: [String]) throws {
        let result = try fixture.run(options + ["--daemon", "/none", "--", "/bin/true"])
        #expect(result.exit == .status(64))
        #expect(result.errors.contains("\(options[0]) is of the run's own daemon"))
    }

    @Test("A running daemon serves the program; its model is what it is")
    func existingDaemon() throws {
        try withDaemon({ $0.device.model = .ad104 }) { socket in
            let result = try fixture.run(
                ["--daemon", socket, "--", RunFixture.program, "binds"])
            #expect(result.exit == .status(0), "\(result.output)\(result.errors)")
            #expect(
                result.summary["core"]
                    == "did map 3, unmap 3, remap 1, sparse map 1, sparse unmap 1")
            // The counters are the daemon's: the second run's are the difference.
            let again = try fixture.run(
                ["--daemon", socket, "--device", "ad104", "--", RunFixture.program, "binds"])
            #expect(again.summary["run:"] == result.summary["run:"])
            let wrong = try fixture.run(
                ["--daemon", socket, "--device", "tu104", "--", "/bin/true"])
            #expect(wrong.exit == .status(64))
            #expect(wrong.errors.contains("is a ad104"))
        }
        #expect(try fixture.run(["--daemon", "/none", "--", "/bin/true"]).exit == .status(69))
    }

    @Test("A living process is served by a daemon that was started again, its sync_files too")
    func restartedDaemon() throws {
        let path = fixture.path("s")
        var streams: [Int32] = [-1, -1]
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        try #require(socketpair(AF_UNIX, type, 0, &streams) == 0)
        defer { close(streams[0]) }
        var buffer = [UInt8](repeating: 0, count: 4096)
        var child: ChildProcess?
        try withDaemon(at: path) { _ in
            child = try ChildProcess(
                "/usr/bin/env",
                [
                    "LD_PRELOAD=\(RunFixture.product("libgpuvm-drm-shim.so"))",
                    "GPUVM_SOCKET=\(path)", "GPUVM_SHIM_TREE=\(path).tree", "timeout", "20",
                    RunFixture.program, "restart",
                ],
                fds: [(STDIN_FILENO, streams[1]), (STDOUT_FILENO, streams[1])])
            close(streams[1])
            let count = read(streams[0], &buffer, buffer.count)
            #expect(String(decoding: buffer.prefix(max(0, count)), as: UTF8.self) == "ready\n")
        }
        try withDaemon(at: path) { _ in
            #expect(write(streams[0], "\n", 1) == 1)
            let count = read(streams[0], &buffer, buffer.count)
            #expect(String(decoding: buffer.prefix(max(0, count)), as: UTF8.self) == "again\n")
            #expect(child?.wait() == .status(0))
        }
    }

    @Test("A run that had too little served fails")
    func required() throws {
        let enough = try fixture.run(
            ["--require-ioctls", "14", "--", RunFixture.program, "binds"])
        #expect(enough.exit == .status(0))
        let more = try fixture.run(
            ["--require-ioctls", "15", "--", RunFixture.program, "binds"])
        #expect(more.exit == .status(1))
        #expect(more.errors.contains("only 14 ioctls were served and 15 are required"))
    }
}
