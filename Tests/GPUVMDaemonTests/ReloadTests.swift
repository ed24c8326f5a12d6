import Glibc
import Logging
import TestSupport
import Testing
import WireProtocol

@testable import GPUVMDaemon

/// What a running daemon makes of another configuration.
@Suite struct ReloadTests {
    /// A daemon that serves nobody, with everything that a reload talks to.
    private struct Fixture {
        let directory: TemporaryDirectory
        let handler = RecordingHandler()
        let log: CapturedLog
        let sink: LogSink
        let manager: DatagramSocket
        let daemon: Daemon

        init() throws {
            directory = try TemporaryDirectory()
            log = try CapturedLog()
            manager = try DatagramSocket("\(directory.path)/notify")
            let sink = LogSink(
                fd: log.fd, format: .plain, clientLinesPerSecond: 20, environment: [:])
            self.sink = sink
            let handler = handler
            daemon = Daemon(
                configuration: DaemonConfiguration(), socketPath: "\(directory.path)/s",
                logger: Logger(label: "gpuvmd") { TextLogHandler(label: $0, sink: sink) },
                sink: sink, environment: ["NOTIFY_SOCKET": "\(directory.path)/notify"]
            ) { _ in handler }
            try daemon.start()
            #expect(manager.next()?.hasPrefix("READY=1\nSTATUS=Serving ") == true)
            _ = log.lines()
        }

        /// Reloads what `yaml` says; the log's lines, without time.
        func reload(_ yaml: String) -> [String] {
            daemon.reload { () throws(ConfigurationError) in
                try ConfigurationLoader.parse(yaml, name: "/etc/g.yaml")
            }
            return log.lines().map { String($0.drop { $0 != " " }.dropFirst()) }
        }

        /// The two notes to the service manager; the second's status.
        func status() throws -> String {
            let first = try #require(manager.next()).split(separator: "\n")
            #expect(first.first == "RELOADING=1")
            #expect(first.count == 2 && first[1].hasPrefix("MONOTONIC_USEC="))
            let sent = try #require(UInt64(first[1].dropFirst("MONOTONIC_USEC=".count)))
            var now = timespec()
            #expect(timespec_get_monotonic(&now))
            let microseconds = UInt64(now.tv_sec) * 1_000_000 + UInt64(now.tv_nsec) / 1000
            #expect(sent <= microseconds && microseconds - sent < 60_000_000)
            let second = try #require(manager.next())
            #expect(second.hasPrefix("READY=1\nSTATUS="))
            return String(second.dropFirst("READY=1\nSTATUS=".count))
        }

        private func timespec_get_monotonic(_ time: inout timespec) -> Bool {
            clock_gettime(CLOCK_MONOTONIC, &time) == 0
        }
    }

    @Test func liveKeysAreTakenOver() throws {
        let fixture = try Fixture()
        let lines = fixture.reload(
            """
            log:
              level: debug
              client_lines_per_second: 7
            device:
              job_timeout: 2s
              hazards: fail
            quotas:
              vms: 3
            limits:
              max_clients: 1
            """)
        #expect(
            lines == [
                "notice gpuvmd: configuration changed effect=\"at once\" from=info key=log.level to=debug",
                """
                notice gpuvmd: configuration changed effect="at once" from=20 \
                key=log.client_lines_per_second to=7
                """,
                """
                notice gpuvmd: configuration changed effect="at once" from=5s \
                key=device.job_timeout to=2s
                """,
                """
                notice gpuvmd: configuration changed effect="at once" from=report \
                key=device.hazards to=fail
                """,
                """
                notice gpuvmd: configuration changed effect="for new clients" from=256 \
                key=quotas.vms to=3
                """,
                """
                notice gpuvmd: configuration changed effect="at once" from=64 \
                key=limits.max_clients to=1
                """,
                "notice gpuvmd: configuration reloaded changed=6 need_restart=0",
            ])
        #expect(
            try fixture.status() == """
                Configuration reloaded, changed: log.level, log.client_lines_per_second, \
                device.job_timeout, device.hazards, quotas.vms, limits.max_clients
                """)
        #expect(fixture.sink.level == .debug)
        #expect(fixture.sink.clientLinesPerSecond == 7)
        fixture.daemon.logger.debug("now it is said")
        #expect(fixture.log.lines().count == 1)
        let given = try #require(fixture.handler.log.withLock { $0.configurations }.first)
        #expect(given.quotas.vms == 3 && given.device.jobTimeout == 2_000_000_000)
        #expect(given.device.hazards == .fail)
        // The limit holds for those who come: the second connection is one too many.
        let path = fixture.daemon.socketPath
        let first = try UnixSocket.connect(path: path)
        #expect(fixture.handler.wait { $0.sockets.count == 1 })
        let second = try UnixSocket.connect(path: path)
        #expect(becomesReadable(second.rawValue))
        first.shutdown()
        fixture.daemon.stop()
    }

    @Test func aBadFileChangesNothingAndSaysWhy() throws {
        let fixture = try Fixture()
        let before = fixture.daemon.configuration
        let lines = fixture.reload("log:\n  level: debug\nquotas:\n  vms: 0\n  bo_bites: 1\n")
        #expect(
            lines == [
                """
                error gpuvmd: the configuration is wrong and stays as it was column=3 \
                file=/etc/g.yaml key=quotas.bo_bites line=5 \
                reason="unknown key; did you mean quotas.bo_bytes?"
                """,
                """
                error gpuvmd: the configuration is wrong and stays as it was column=8 \
                file=/etc/g.yaml key=quotas.vms line=4 \
                reason="\\"0\\" is not allowed; expected a whole number from 1 to 4096"
                """,
            ])
        #expect(
            try fixture.status() == """
                The configuration stays as it was: /etc/g.yaml:5:3: quotas.bo_bites: unknown key; \
                did you mean quotas.bo_bytes?; /etc/g.yaml:4:8: quotas.vms: "0" is not allowed; \
                expected a whole number from 1 to 4096
                """)
        #expect(fixture.daemon.configuration == before)
        #expect(fixture.sink.level == .info)
        #expect(fixture.handler.log.withLock { $0.configurations } == [])
        // A text that is no YAML, and a key that stands twice, have a place as well.
        #expect(fixture.reload("log: [").first?.contains("file=/etc/g.yaml line=") == true)
        #expect(
            fixture.reload("log:\n  level: info\n  level: debug\n").first?.contains(
                "key=level line=") == true)
        #expect(fixture.daemon.configuration == before)
        fixture.daemon.stop()
    }

    @Test func keysThatNeedARestartAreNamed() throws {
        let fixture = try Fixture()
        let yaml = "device:\n  vram: 2GiB\n  visible_vram: 256MiB\nquotas:\n  bos: 9\n"
        for isFirst in [true, false] {
            let lines = fixture.reload(yaml)
            let changed = "notice gpuvmd: configuration changed effect=\"for new clients\""
            #expect(lines.filter { $0.hasPrefix(changed) }.count == (isFirst ? 1 : 0))
            // Every time, since the daemon goes on without them.
            #expect(
                Array(lines.suffix(3)) == [
                    "warning gpuvmd: a changed key needs a restart file=2GiB in_force=1GiB key=device.vram",
                    """
                    warning gpuvmd: a changed key needs a restart file=256MiB in_force="not set" \
                    key=device.visible_vram
                    """,
                    """
                    notice gpuvmd: configuration reloaded changed=\(isFirst ? 1 : 0) need_restart=2
                    """,
                ])
            let status = try fixture.status()
            #expect(status.hasSuffix("needs a restart: device.vram, device.visible_vram"))
        }
        #expect(fixture.daemon.configuration.device.vram == 1 << 30)
        #expect(fixture.daemon.configuration.quotas.bos == 9)
        // Back to what is in force: nothing to say.
        #expect(
            fixture.reload("quotas:\n  bos: 9\n") == [
                "notice gpuvmd: configuration reloaded changed=0 need_restart=0"
            ])
        fixture.daemon.stop()
    }

    @Test func onlyARunningDaemonReloads() throws {
        let fixture = try Fixture()
        fixture.daemon.stop()
        #expect(fixture.manager.next()?.hasPrefix("STOPPING=1\n") == true)
        _ = fixture.log.lines()
        #expect(fixture.reload("log:\n  level: debug\n") == [])
        #expect(fixture.manager.next(milliseconds: 0) == nil)
    }

    @Test func everyKeyHasItsEffect() {
        for path in [
            "log.level", "log.client_lines_per_second", "device.job_timeout", "device.hazards",
            "limits.max_clients",
        ] {
            #expect(ConfigurationSchema.key(path)?.reloadEffect == .atOnce, "\(path)")
        }
        for path in ["socket.path", "device.vram", "device.copy_engines", "fault_log.entries"] {
            #expect(ConfigurationSchema.key(path)?.reloadEffect == .restart)
        }
        #expect(ConfigurationSchema.key("quotas.bos")?.reloadEffect == .newClients)
    }

    @Test func theCommandLineWinsAgain() throws {
        let directory = try TemporaryDirectory()
        let file = try directory.write("g.yaml", "log:\n  level: error\nquotas:\n  vms: 5\n")
        var options = DaemonOptions()
        options.logLevel = .debug
        options.socketPath = "/a/b"
        options.configurationFile = file
        let source = ConfigurationSource(
            options: options, environment: ["GPUVM_QUOTAS_BOS": "17"])
        let first = try source.load()
        #expect(first.file == file)
        _ = try directory.write("g.yaml", "log:\n  level: info\nquotas:\n  vms: 6\n  bos: 1\n")
        let again = try source.reload(file: first.file)
        #expect(again.log.level == .debug && again.socket.path == "/a/b")
        #expect(again.quotas.vms == 6 && again.quotas.bos == 17)
        unlink(file)
        #expect(throws: ConfigurationError.unreadable(path: file, .noSuchFileOrDirectory)) {
            _ = try source.reload(file: first.file)
        }
    }
}
