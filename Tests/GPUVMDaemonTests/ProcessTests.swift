import Glibc
import TestSupport
import Testing
import WireProtocol

@testable import GPUVMDaemon

/// `gpuvmd` as a process.
@Suite struct ProcessTests {
    /// A small device, so that a test costs no memory.
    private static let small = [
        "GPUVM_DEVICE_VRAM": "16MiB", "GPUVM_DEVICE_SYSTEM_MEMORY": "16MiB",
        "GPUVM_DEVICE_PAGE_TABLE_MEMORY": "1MiB",
    ]

    /// A daemon whose socket listens.
    private func started(
        _ path: String, environment: [String: String] = [:], arguments: [String] = []
    ) throws -> ChildProcess {
        var ends: [Int32] = [-1, -1]
        try #require(pipe(&ends) == 0)
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        let reading = OwnedFD(ends[0])
        let process: ChildProcess
        do {
            let writing = OwnedFD(ends[1])
            process = try ChildProcess.daemon(
                ["--socket", path, "--ready-fd", "9"] + arguments,
                environment: Self.small.merging(environment) { $1 },
                passing: [(9, writing.rawValue)])
        }
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64)
        while becomesReadable(reading.rawValue, milliseconds: 20_000) {
            let count = read(reading.rawValue, &buffer, buffer.count)
            if count <= 0 { break }
            text += buffer[..<count]
        }
        // The line, and the end of the stream after it.
        #expect(String(decoding: text, as: UTF8.self) == "ready\n", "\(process.outputSoFar)")
        return process
    }

    @Test(arguments: [SIGTERM, SIGINT])
    func aSignalEndsItAndLeavesNoSocket(_ signal: Int32) throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/s"
        let process = try started(path)
        #expect(directory.entries == ["s", "s.lock", "s.tree"])
        let client = try UnixSocket.connect(path: path)
        process.signal(signal)
        let (status, output) = process.waitForEnd()
        #expect(status == 0, "\(output)")
        #expect(directory.entries == [])
        #expect(becomesReadable(client.rawValue))
    }

    @Test func aSecondDaemonSaysSoAndExits() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/s"
        let first = try started(path)
        let second = try ChildProcess.daemon(["--socket", path], environment: Self.small)
        let (status, output) = second.waitForEnd()
        #expect(status == 75)
        #expect(
            output.contains("another gpuvmd (pid \(first.pid)) already serves \(path)"),
            "\(output)")
        let client = try UnixSocket.connect(path: path)
        #expect(directory.entries == ["s", "s.lock", "s.tree"])
        first.signal(SIGTERM)
        #expect(first.waitForEnd().status == 0)
        client.shutdown()
    }

    @Test func afterSIGKILLTheSocketIsTakenOver() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/s"
        let first = try started(path)
        #expect(try SocketLock.owner(ofSocket: path) == .living(pid: first.pid))
        first.signal(SIGKILL)
        #expect(first.waitForEnd().status == 128 + SIGKILL)
        #expect(directory.entries == ["s", "s.lock", "s.tree"])
        #expect(try SocketLock.owner(ofSocket: path) == .none)
        let second = try started(path)
        #expect(try SocketLock.owner(ofSocket: path) == .living(pid: second.pid))
        _ = try UnixSocket.connect(path: path)
        second.signal(SIGTERM)
        #expect(second.waitForEnd().status == 0)
        #expect(directory.entries == [])
    }

    @Test func aPathThatIsNoSocketIsLeftAlone() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("s", "precious")
        let process = try ChildProcess.daemon(["--socket", path], environment: Self.small)
        let (status, output) = process.waitForEnd()
        #expect(status == 73)
        #expect(output.contains("\(path) exists and is no socket"), "\(output)")
        #expect(try contents(of: path) == "precious")
    }

    @Test func aHangupSignalReloadsTheConfiguration() throws {
        let directory = try TemporaryDirectory()
        let file = try directory.write("g.yaml", "limits:\n  max_clients: 9\n")
        let process = try started("\(directory.path)/s", arguments: ["--config", file])
        _ = try directory.write("g.yaml", "limits:\n  max_clients: 8\nsocket:\n  mode: \"0600\"\n")
        process.signal(SIGHUP)
        #expect(process.waitForOutput("configuration reloaded changed=1 need_restart=1"))
        #expect(process.outputSoFar.contains("from=9 key=limits.max_clients to=8"))
        #expect(process.outputSoFar.contains("needs a restart"))
        _ = try directory.write("g.yaml", "limits:\n  max_clients: none\n")
        process.signal(SIGHUP)
        #expect(process.waitForOutput("file=\(file) key=limits.max_clients line=2"))
        // A file that was there and is gone does not mean the defaults.
        unlink(file)
        process.signal(SIGHUP)
        #expect(process.waitForOutput("\(file): cannot be read"))
        #expect(!process.outputSoFar.contains("to=64"))
        process.signal(SIGTERM)
        #expect(process.waitForEnd().status == 0)
    }

    @Test func aStrictUmaskHidesNothingFromClients() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/run/s"
        let process = try ChildProcess(
            [
                "/bin/sh", "-c", "umask 077; exec \"$0\" --socket \"$1\"",
                ChildProcess.daemonPath, path,
            ],
            environment: Self.small, passing: [])
        #expect(process.waitForOutput("listening"), "\(process.outputSoFar)")
        func mode(_ name: String) -> mode_t? {
            var status = stat()
            return stat("\(directory.path)/run\(name)", &status) == 0 ? status.st_mode & 0o777 : nil
        }
        #expect(mode("") == 0o755)
        #expect(mode("/s") == 0o660)
        #expect(mode("/s.lock") == 0o644)
        for folder in ["", "/dev", "/dev/dri", "/sys", "/sys/dev/char"] {
            #expect(mode("/s.tree\(folder)") == 0o755, "\(folder)")
        }
        #expect(mode("/s.tree/dev/dri/renderD128") == 0o644)
        process.signal(SIGTERM)
        #expect(process.waitForEnd().status == 0)
    }

    @Test func outOfDescriptorsItRefusesAndRecovers() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/s"
        let process = try ChildProcess(
            [
                "/bin/sh", "-c", "ulimit -n 128; exec \"$0\" --socket \"$1\"",
                ChildProcess.daemonPath, path,
            ],
            environment: Self.small.merging(["GPUVM_LIMITS_MAX_CLIENTS": "4096"]) { $1 },
            passing: [])
        #expect(process.waitForOutput("listening"))
        var clients: [UnixSocket] = []
        for _ in 0..<200 { clients.append(try UnixSocket.connect(path: path)) }
        #expect(process.waitForOutput("no file descriptor left"), "\(process.outputSoFar)")
        // In the order of their coming: whoever is last is answered last.
        let last = try #require(clients.last)
        #expect(becomesReadable(last.rawValue))
        let refused = clients.filter { becomesReadable($0.rawValue, milliseconds: 0) }
        #expect(!refused.isEmpty && refused.count < 200)
        let before = try process.cpuTicks()
        // Nothing to do for a while, so nothing may be done: a spinning thread would use it all.
        let (quiet, peer) = try UnixSocket.pair()
        #expect(!becomesReadable(quiet.rawValue, milliseconds: 500))
        peer.shutdown()
        #expect(try process.cpuTicks() - before < 20)
        clients.removeAll()
        let (next, isServed) = try connectWhenServed(path)
        #expect(isServed)
        next.shutdown()
        process.signal(SIGTERM)
        #expect(process.waitForEnd().status == 0)
        #expect(directory.entries == [])
    }

    /// Connects until a connection is not refused; gives up after 100 attempts.
    private func connectWhenServed(_ path: String) throws -> (UnixSocket, Bool) {
        for _ in 0..<100 {
            let socket = try UnixSocket.connect(path: path)
            if !becomesReadable(socket.rawValue, milliseconds: 100) { return (socket, true) }
        }
        return (try UnixSocket.connect(path: path), false)
    }

    @Test func aPassedSocketIsServedAndKept() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/s"
        let listener = try UnixSocket.listen(path: path)
        let process = try ChildProcess(
            ["/bin/sh", "-c", "LISTEN_PID=$$ exec \"$0\"", ChildProcess.daemonPath],
            environment: Self.small.merging(["LISTEN_FDS": "1"]) { $1 },
            passing: [(3, listener.rawValue)])
        #expect(process.waitForOutput("listening"), "\(process.outputSoFar)")
        #expect(process.outputSoFar.contains("socket=\(path)"))
        let client = try UnixSocket.connect(path: path)
        #expect(!client.peerHasHungUp())
        #expect(try SocketLock.owner(ofSocket: path) == .living(pid: process.pid))
        process.signal(SIGTERM)
        #expect(process.waitForEnd().status == 0)
        // The name is the manager's.
        #expect(directory.entries == ["s"])
    }

    @Test func aPassedDescriptorThatIsNoSuchSocketIsRefused() throws {
        let null = OwnedFD(open("/dev/null", O_RDONLY | O_CLOEXEC))
        let process = try ChildProcess(
            ["/bin/sh", "-c", "LISTEN_PID=$$ exec \"$0\"", ChildProcess.daemonPath],
            environment: Self.small.merging(["LISTEN_FDS": "1"]) { $1 },
            passing: [(3, null.rawValue)])
        let (status, output) = process.waitForEnd()
        #expect(status == 71)
        #expect(output.contains("it is no Unix socket"), "\(output)")
    }

    @Test func theConfigurationIsCheckedAndPrinted() throws {
        let directory = try TemporaryDirectory()
        func run(_ arguments: String...) throws -> (status: Int32, output: String) {
            try ChildProcess.daemon(arguments).waitForEnd()
        }
        let good = try run("--check-config", "--config", committedConfigurationPath)
        #expect(good.status == 0)
        #expect(good.output == "\(committedConfigurationPath): OK\n")
        let file = try directory.write("bad.yaml", "quotas:\n  bo_bites: 1\n  vms: 0\n")
        let bad = try run("--check-config", "--config", file)
        #expect(bad.status == 78)
        #expect(
            bad.output == """
                \(file):2:3: quotas.bo_bites: unknown key; did you mean quotas.bo_bytes?
                \(file):3:8: quotas.vms: "0" is not allowed; expected a whole number from 1 to 4096

                """)
        #expect(try run("--config", file, "--socket", "\(directory.path)/s").status == 78)
        let mine = try directory.write("mine.yaml", "device:\n  vram: 32MiB\n")
        let printed = try run(
            "--print-config", "--config", mine, "--log-level", "debug", "--socket", "/a/b")
        #expect(printed.status == 0)
        let parsed = try ConfigurationLoader.parse(printed.output, name: "printed")
        var expected = DaemonConfiguration()
        expected.device.vram = 32 << 20
        expected.log.level = .debug
        expected.socket.path = "/a/b"
        #expect(parsed == expected)
    }

    @Test func aWrongCommandLineIsAUsageError() throws {
        for arguments in [
            ["--nonsense"], ["--log-level", "loud"], ["--check-config", "--print-config"],
            ["--ready-fd", "77", "--socket", "/nonexistent/x/s"], ["--ready-fd", "x"],
        ] {
            let (status, output) = try ChildProcess.daemon(arguments).waitForEnd()
            #expect(status == 64, "\(arguments): \(output)")
        }
        let version = try ChildProcess.daemon(["--version"]).waitForEnd()
        #expect(version.status == 0)
        #expect(version.output == "gpuvmd \(DaemonVersion.string)\n")
    }
}
