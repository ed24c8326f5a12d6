import Fencing
import Glibc
import Logging
import TestSupport
import Testing
import WireProtocol

@testable import GPUVMDaemon

@Suite struct DaemonTests {
    private func daemon(
        _ path: String, _ handler: RecordingHandler, _ log: CapturedLog,
        environment: [String: String] = [:],
        configure: (inout DaemonConfiguration) -> Void = { _ in }
    ) -> Daemon {
        var configuration = DaemonConfiguration()
        configure(&configuration)
        return Daemon(
            configuration: configuration, socketPath: path, logger: log.logger(),
            environment: environment
        ) { _ in handler }
    }

    @Test func servesAndLeavesNothingBehind() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/run/s"
        let handler = RecordingHandler()
        let log = try CapturedLog()
        let daemon = daemon(path, handler, log)
        try daemon.start()
        let client = try UnixSocket.connect(path: path)
        #expect(handler.wait { $0.sockets.count == 1 })
        daemon.stop()
        #expect(becomesReadable(client.rawValue))
        #expect(directory.entries == ["run"])
        #expect(access(path, F_OK) != 0)
        #expect(access(path + ".lock", F_OK) != 0)
        #expect(handler.log.withLock { $0.shutdowns } == [true])
        daemon.stop()
        #expect(throws: DaemonError.self) { try daemon.start() }
        rmdir("\(directory.path)/run")
    }

    @Test func theDirectoryIsAsOpenAsTheSocket() throws {
        let directory = try TemporaryDirectory()
        for (mode, directoryMode) in [(UInt32(0o600), mode_t(0o700)), (0o660, 0o755)] {
            let daemon = daemon(
                "\(directory.path)/d\(mode)/s", RecordingHandler(), try CapturedLog()
            ) { $0.socket.mode = mode }
            try daemon.start()
            var status = stat()
            #expect(stat("\(directory.path)/d\(mode)", &status) == 0)
            #expect(status.st_mode & 0o777 == directoryMode)
            daemon.stop()
        }
    }

    @Test func aSecondDaemonDoesNotTouchTheSocket() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/s"
        let log = try CapturedLog()
        let first = daemon(path, RecordingHandler(), log)
        try first.start()
        var before = stat()
        #expect(lstat(path, &before) == 0)
        let second = daemon(path, RecordingHandler(), log)
        do throws(DaemonError) {
            try second.start()
            Issue.record("started")
        } catch {
            guard case .socket(.ownedByLivingDaemon(path, getpid())) = error else {
                Issue.record("\(error)")
                return
            }
        }
        var after = stat()
        #expect(lstat(path, &after) == 0)
        #expect(before.st_ino == after.st_ino)
        let client = try UnixSocket.connect(path: path)
        first.stop()
        second.stop()
        client.shutdown()
    }

    @Test func aFailedStartLeavesNothing() throws {
        struct Broken: Error {}
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/s"
        let log = try CapturedLog()
        let broken = Daemon(
            configuration: DaemonConfiguration(), socketPath: path, logger: log.logger()
        ) { _ in throw Broken() }
        #expect(throws: DaemonError.self) { try broken.start() }
        #expect(directory.entries == [])
        let handler = RecordingHandler()
        let badGroup = daemon(path, handler, log) { $0.socket.group = "no-such-group" }
        #expect(throws: DaemonError.self) { try badGroup.start() }
        #expect(directory.entries == [])
        #expect(handler.log.withLock { $0.shutdowns } == [false])
        let long = daemon("/" + String(repeating: "x", count: 107), handler, log)
        #expect(throws: DaemonError.self) { try long.start() }
    }

    @Test func aHurriedStopEndsAGracefulOne() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/s"
        let handler = RecordingHandler(waitsOnGracefulShutdown: true)
        let daemon = daemon(path, handler, try CapturedLog())
        try daemon.start()
        let started = Runtime.now()
        let thread = RuntimeThread.start(name: "graceful") { daemon.stop() }
        #expect(handler.wait { $0.shutdowns == [true] })
        // No newcomer while the jobs finish, and the lock says that the daemon still lives.
        #expect(access(path, F_OK) != 0)
        #expect(try SocketLock.owner(ofSocket: path) == .living(pid: getpid()))
        daemon.stop(graceful: false)
        try #require(thread).join()
        #expect(Runtime.now() - started < 9_000_000_000)
        #expect(directory.entries == [])
        #expect(handler.log.withLock { $0.shutdowns } == [true, false])
    }

    @Test func theServiceManagerIsTold() throws {
        let directory = try TemporaryDirectory()
        for name in ["\(directory.path)/notify", "@gpuvmd-test-\(getpid())"] {
            let manager = try DatagramSocket(name)
            let daemon = daemon(
                "\(directory.path)/s", RecordingHandler(), try CapturedLog(),
                environment: ["NOTIFY_SOCKET": name])
            try daemon.start()
            #expect(
                manager.next() == """
                    READY=1
                    STATUS=Serving gpuvmd simulated GPU on \(directory.path)/s
                    """)
            daemon.stop()
            // The time-out of jobs, 5 s, and 30 s for all else.
            #expect(
                manager.next() == """
                    STOPPING=1
                    EXTEND_TIMEOUT_USEC=35000000
                    STATUS=Waiting for running jobs to end
                    """)
        }
        // A name that is none of both kinds is not a reason to fail.
        ServiceNotifier(environment: ["NOTIFY_SOCKET": "relative"]).alive()
    }

    @Test func passedSocketsAreCounted() throws {
        func count(_ pid: String?, _ fds: String?) throws -> Int32? {
            var environment: [String: String] = [:]
            environment["LISTEN_PID"] = pid
            environment["LISTEN_FDS"] = fds
            return try ListenFDs.count(environment: environment, processID: 42)
        }
        #expect(try count("42", "1") == 1)
        #expect(try count("42", "0") == nil)
        #expect(try count("43", "1") == nil)
        #expect(try count(nil, "1") == nil)
        #expect(try count("42", nil) == nil)
        #expect(throws: SocketError.self) { try count("42", "-1") }
        #expect(throws: SocketError.self) { try count("42", "many") }
    }
}
