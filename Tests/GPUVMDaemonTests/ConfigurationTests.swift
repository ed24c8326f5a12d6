import Device
import TestSupport
import Testing

@testable import GPUVMDaemon

@Suite struct ConfigurationTests {
    private func problems(
        _ yaml: String, environment: [String: String] = [:]
    ) -> [ConfigurationProblem] {
        do throws(ConfigurationError) {
            _ = try ConfigurationLoader.parse(yaml, name: "test.yaml", environment: environment)
            return []
        } catch {
            guard case .invalid(let problems) = error else {
                Issue.record("\(error)")
                return []
            }
            return problems
        }
    }

    @Test func anEmptyDocumentMeansTheDefaults() throws {
        for text in ["", "# nothing\n", "quotas:\n", "quotas:\n  # vms: 3\nlog: ~\n"] {
            let parsed = try ConfigurationLoader.parse(text, name: "test.yaml")
            #expect(parsed == DaemonConfiguration())
        }
    }

    @Test func theCommittedFileHoldsTheDefaultsAndExplainsEveryKey() throws {
        let text = try contents(of: committedConfigurationPath)
        let parsed = try ConfigurationLoader.parse(text, name: committedConfigurationPath)
        #expect(parsed == DaemonConfiguration())
        var section = ""
        var written: Set<String> = []
        for line in text.split(separator: "\n") {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let name = line[..<colon].filter { $0 != " " && $0 != "#" }
            if line.first?.isLetter == true { section = name }
            written.insert("\(section).\(name)")
        }
        for key in ConfigurationSchema.keys { #expect(written.contains(key.path), "\(key.path)") }
    }

    @Test func valuesOfAllKinds() throws {
        let parsed = try ConfigurationLoader.parse(
            """
            socket:
              path: /run/x/y.sock
              mode: 0600
              group: render
            log: {level: trace, format: journal, client_lines_per_second: 7}
            device:
              name: "a \\"b\\" c"
              vram: 64 MiB
              system_memory: 33554432
              job_timeout: 1500ms
            fault_log:
              entries: 12
            """, name: "test.yaml")
        #expect(parsed.socket.path == "/run/x/y.sock")
        #expect(parsed.socket.mode == 0o600)
        #expect(parsed.socket.group == "render")
        #expect(parsed.log.level == .trace)
        #expect(parsed.log.format == .journal)
        #expect(parsed.log.clientLinesPerSecond == 7)
        #expect(parsed.device.name == "a \"b\" c")
        #expect(parsed.device.vram == 67_108_864)
        #expect(parsed.device.systemMemory == 33_554_432)
        #expect(parsed.device.jobTimeout == 1_500_000_000)
        #expect(parsed.faultLog.entries == 12)
    }

    @Test(arguments: [
        ("quotas:\n  bo_bites: 1\n", "quotas.bo_bites", "quotas.bo_bytes", 2, 3),
        ("soket:\n  mode: \"0600\"\n", "soket", "socket", 1, 1),
        ("device:\n  quotas:\n    vms: 1\n", "device.quotas", nil, 2, 3),
        ("limits:\n  vms: 4\n", "limits.vms", "quotas.vms", 2, 3),
        ("vram: 1GiB\n", "vram", "device.vram", 1, 1),
        ("a.b: 1\n", "a.b", nil, 1, 1),
        ("<<: {}\n", "<<", nil, 1, 1),
    ])
    func anUnknownKeyIsNamed(
        _ yaml: String, _ key: String, _ suggestion: String?, _ line: Int, _ column: Int
    ) {
        #expect(
            problems(yaml) == [
                ConfigurationProblem(
                    key: key, reason: .unknownKey(suggestion: suggestion),
                    location: .file(name: "test.yaml", line: line, column: column))
            ])
    }

    @Test func messagesSayWhereAndWhat() {
        let unknown = problems("quotas:\n  bo_bites: 1\n").first?.description
        #expect(
            unknown
                == "test.yaml:2:3: quotas.bo_bites: unknown key; did you mean quotas.bo_bytes?")
        let range = problems("device:\n  copy_engines: 17\n").first?.description
        #expect(
            range == """
                test.yaml:2:17: device.copy_engines: "17" is not allowed; expected a whole number \
                from 1 to 16
                """)
    }

    @Test func aDuplicateKeyIsAnError() {
        #expect(
            throws: ConfigurationError.duplicateKeys(
                ["vms"], .file(name: "test.yaml", line: 2, column: 3))
        ) {
            try ConfigurationLoader.parse("quotas:\n  vms: 1\n  vms: 2\n", name: "test.yaml")
        }
        #expect(
            throws: ConfigurationError.duplicateKeys(
                ["log"], .file(name: "test.yaml", line: 1, column: 1))
        ) {
            try ConfigurationLoader.parse("log:\nquotas:\nlog:\n", name: "test.yaml")
        }
    }

    @Test func badSyntaxHasAPlace() {
        do throws(ConfigurationError) {
            _ = try ConfigurationLoader.parse("socket: [\n", name: "test.yaml")
            Issue.record("accepted")
        } catch {
            guard case .syntax(.file("test.yaml", 2, 1), _) = error else {
                Issue.record("\(error)")
                return
            }
        }
    }

    @Test(arguments: [
        ("socket: 3\n", "socket"), ("- 1\n", ""), ("text\n", ""), ("log: [1]\n", "log"),
    ])
    func aSectionMustBeASection(_ yaml: String, _ key: String) {
        let found = problems(yaml)
        #expect(found.map(\.key) == [key])
        #expect(found.map(\.reason) == [.notASection])
    }

    @Test func aKeyTakesOneValue() {
        #expect(problems("quotas:\n  vms: [1]\n").map(\.key) == ["quotas.vms"])
        #expect(problems("quotas:\n  vms: {a: 1}\n").map(\.key) == ["quotas.vms"])
        for text in ["", "~", "null"] {
            let found = problems("quotas:\n  vms: \(text)\n")
            #expect(found.count == 1)
            guard case .missingValue = found.first?.reason else {
                Issue.record("\(found)")
                continue
            }
        }
        #expect(problems("? [1]\n: 2\n").map(\.reason) == [.keyIsNotText])
    }

    /// For each key with a range: what is just inside and just outside of it.
    static let ranges: [(key: String, inside: [String], outside: [String])] = [
        (
            "socket.path", ["/a", "/" + String(repeating: "b", count: 106)],
            ["a", "/", "/" + String(repeating: "b", count: 107), "\"/a\\nb\""]
        ),
        (
            "socket.mode", ["\"0600\"", "0777", "660"],
            ["0577", "1000", "0888", "\"0o600\"", "-600"]
        ),
        ("socket.group", ["0", "render"], ["\"\""]),
        ("access.users", ["\"\"", "root", "0, root,7"], ["no-such-name-here", "\",\"", "-1"]),
        ("access.groups", ["\"\"", "root", "4294967294"], ["no-such-name-here", "4294967295"]),
        ("access.privileged_users", ["\"\"", "root"], ["no-such-name-here", "root,"]),
        ("access.privileged_groups", ["\"\"", "0,root"], ["no-such-name-here", "root 0"]),
        ("log.level", ["trace", "critical"], ["verbose", "INFO", "\"\""]),
        ("log.format", ["auto", "plain", "journal"], ["text"]),
        ("log.client_lines_per_second", ["1", "10000"], ["0", "10001", "ten"]),
        (
            "device.name", ["a", String(repeating: "n", count: 32)],
            ["\"\"", String(repeating: "n", count: 33), "\"a\\tb\""]
        ),
        ("device.model", ["tu104", "ad104"], ["gv100", "TU104", "\"\""]),
        (
            "device.vram", ["16MiB", "1TiB", "18MiB"],
            ["14MiB", "1026GiB", "17MiB", "16MB", "16M", "1.5GiB", "-1", "\"16 MiB \"", "0x10"]
        ),
        // Above 1 GiB is above the default of device.vram.
        (
            "device.visible_vram", ["2MiB", "1GiB", "256 MiB"],
            ["0", "1MiB", "3MiB", "1026MiB", "2TiB", "all", "256MB"]
        ),
        ("device.system_memory", ["16MiB", "1TiB"], ["14MiB", "1025GiB", "16777217"]),
        ("device.page_table_memory", ["64KiB", "16GiB"], ["0", "63KiB", "17GiB", "65KiB"]),
        ("device.copy_engines", ["1", "16"], ["0", "17", "-1", "1.0"]),
        ("device.bind_workers", ["1", "8"], ["0", "9"]),
        ("device.tlb_entries", ["4", "1048576"], ["3", "1048577"]),
        ("device.job_timeout", ["10ms", "10min", "600s"], ["9ms", "11min", "5", "5 hours", "s"]),
        ("device.hazards", ["report", "fail", "off"], ["on", "Report", "\"\""]),
        ("quotas.bo_bytes", ["1MiB", "1TiB"], ["1023KiB", "2TiB", "1048577"]),
        ("quotas.bos", ["1", "1048576"], ["0", "1048577"]),
        ("quotas.vms", ["1", "4096"], ["0", "4097"]),
        ("quotas.queues", ["1", "4096"], ["0", "4097"]),
        ("quotas.syncobjs", ["1", "1048576"], ["0", "1048577"]),
        ("quotas.mappings", ["1", "16777216"], ["0", "16777217"]),
        ("quotas.jobs_in_flight", ["1", "65536"], ["0", "65537"]),
        ("quotas.bind_ops_in_flight", ["1", "16777216"], ["0", "16777217"]),
        ("quotas.page_table_bytes", ["64KiB", "16GiB"], ["60KiB", "17GiB", "65537"]),
        ("quotas.fence_fds", ["1", "1000000"], ["0", "1000001", "-1", "1KiB"]),
        ("quotas.waits", ["1", "65536"], ["0", "65537"]),
        ("quotas.requests_per_second", ["1", "1000000"], ["0", "1000001"]),
        ("quotas.request_burst", ["1", "1000000"], ["0", "1000001", "1s"]),
        ("limits.max_clients_per_user", ["1", "4096"], ["0", "4097"]),
        ("limits.requests_per_second", ["1", "1000000"], ["0", "1000001"]),
        ("limits.hello_timeout", ["10ms", "10min"], ["9ms", "11min", "5"]),
        ("limits.max_clients", ["1", "4096"], ["0", "4097", "99999999999999999999"]),
        ("fault_log.entries", ["1", "65536"], ["0", "65537"]),
    ]

    @Test func everyKeyIsInTheTableOfRanges() {
        #expect(Set(Self.ranges.map(\.key)) == Set(ConfigurationSchema.keys.map(\.path)))
    }

    @Test(arguments: ranges.indices)
    func aValueMustBeInItsRange(_ index: Int) throws {
        let (key, inside, outside) = Self.ranges[index]
        let parts = key.split(separator: ".")
        for value in inside {
            #expect(problems("\(parts[0]):\n  \(parts[1]): \(value)\n").isEmpty, "\(key) \(value)")
        }
        for value in outside {
            let found = problems("\(parts[0]):\n  \(parts[1]): \(value)\n")
            #expect(found.map(\.key) == [key], "\(key) \(value)")
            guard case .invalidValue(_, let allowed) = found.first?.reason else {
                Issue.record("\(key) \(value): \(found)")
                continue
            }
            #expect(!allowed.isEmpty)
        }
    }

    @Test func allProblemsAreReportedAtOnce() {
        let found = problems("quotas:\n  vms: 0\n  bosses: 1\ndevice:\n  vram: 1\n")
        #expect(Set(found.map(\.key)) == ["quotas.vms", "quotas.bosses", "device.vram"])
    }

    @Test func theEnvironmentOverrides() throws {
        let parsed = try ConfigurationLoader.parse(
            "device:\n  vram: 32MiB\n  copy_engines: 3\n", name: "test.yaml",
            environment: [
                "GPUVM_DEVICE_VRAM": "64MiB", "GPUVM_QUOTAS_JOBS_IN_FLIGHT": "5",
                "GPUVM_SOCKET": "/elsewhere", "HOME": "/root",
            ])
        #expect(parsed.device.vram == 67_108_864)
        #expect(parsed.device.copyEngines == 3)
        #expect(parsed.quotas.jobsInFlight == 5)
        #expect(parsed.socket.path == nil)
        let bad = problems("", environment: ["GPUVM_DEVICE_VRAM": "1"])
        #expect(bad.map(\.location) == [.environment(variable: "GPUVM_DEVICE_VRAM")])
        let unknown = problems("", environment: ["GPUVM_QUOTAS_BOSS": "1"])
        #expect(unknown.map(\.reason) == [.unknownKey(suggestion: "GPUVM_QUOTAS_BOS")])
    }

    @Test func whatIsPrintedParsesBackToTheSame() throws {
        var configuration = DaemonConfiguration()
        #expect(try roundTrip(configuration) == configuration)
        configuration.socket = .init(path: "/a b/\"c\"\\#: 'd'.sock", mode: 0o777, group: "null")
        configuration.log = .init(level: .critical, format: .journal, clientLinesPerSecond: 9)
        configuration.device.name = "0660"
        configuration.device.vram = (16 << 20) + (2 << 20)
        configuration.device.systemMemory = 1 << 40
        configuration.device.visibleVRAM = 2 << 20
        configuration.device.pageTableMemory = 64 << 10
        configuration.device.jobTimeout = 10_000_001
        configuration.quotas = .init(
            boBytes: (1 << 20) + 4096, bos: 1, vms: 2, queues: 3, syncobjs: 4, mappings: 5,
            jobsInFlight: 6, fenceDescriptors: 7)
        configuration.limits.maxClients = 1
        configuration.faultLog.entries = 2
        #expect(try roundTrip(configuration) == configuration)
    }

    @Test func randomConfigurationsSurviveThePrinter() throws {
        let seed = UInt64.random(in: 1...UInt64.max)
        var generator = SplitMix64(seed: seed)
        for _ in 0..<50 {
            var configuration = DaemonConfiguration()
            let vram = UInt64.random(in: 8...4096, using: &generator)
            configuration.device.vram = vram << 21
            if Bool.random(using: &generator) {
                configuration.device.visibleVRAM =
                    UInt64.random(in: 1...vram, using: &generator) << 21
            }
            configuration.device.jobTimeout = .random(
                in: 10_000_000...600_000_000_000, using: &generator)
            configuration.quotas.boBytes =
                UInt64.random(in: 256...(1 << 28), using: &generator)
                << 12
            configuration.quotas.mappings = .random(in: 1...16_777_216, using: &generator)
            configuration.socket.mode = .random(in: 0o600...0o777, using: &generator)
            #expect(try roundTrip(configuration) == configuration, "seed \(seed)")
        }
    }

    private func roundTrip(_ configuration: DaemonConfiguration) throws -> DaemonConfiguration {
        try ConfigurationLoader.parse(
            ConfigurationPrinter.yaml(configuration), name: "printed.yaml")
    }

    @Test func filesThatCannotBeRead() throws {
        let directory = try TemporaryDirectory()
        #expect(
            throws: ConfigurationError.unreadable(
                path: "\(directory.path)/none", .noSuchFileOrDirectory)
        ) {
            try ConfigurationLoader.load(file: "\(directory.path)/none", environment: [:])
        }
        #expect(throws: ConfigurationError.unreadable(path: directory.path, .isDirectory)) {
            try ConfigurationLoader.load(file: directory.path, environment: [:])
        }
        let large = try directory.write("large", String(repeating: "#", count: (1 << 20) + 1))
        #expect(throws: ConfigurationError.tooLarge(path: large)) {
            try ConfigurationLoader.load(file: large, environment: [:])
        }
    }

    @Test(arguments: [
        ("", "", 0), ("abc", "", 3), ("abc", "abc", 0), ("abc", "acb", 1), ("abc", "abd", 1),
        ("abc", "ab", 1), ("ab", "abc", 1), ("kitten", "sitting", 3), ("ca", "abc", 3),
    ])
    func editDistance(_ a: String, _ b: String, _ distance: Int) {
        #expect(EditDistance.between(a, b) == distance)
    }

    @Test(arguments: [
        // limit, bos and fence_fds asked for, bos and fence_fds granted; 64 are the daemon's own.
        (4064, 1500, 500, 1500, 500), (4062, 1500, 500, 1499, 500), (2064, 1500, 500, 750, 250),
        (84, 1_048_576, 1, 9, 1), (84, 1, 1_000_000, 1, 9), (68, 5, 5, 1, 1), (66, 5, 5, 1, 1),
        (20, 5, 5, 1, 1), (Int.max, 1_048_576, 1_000_000, 1_048_576, 1_000_000),
    ])
    func oneClientCannotTakeAllDescriptors(
        _ limit: Int, _ bos: Int, _ fences: Int, _ fittedBOs: Int, _ fittedFences: Int
    ) {
        var configuration = DaemonConfiguration()
        configuration.quotas.bos = bos
        configuration.quotas.fenceDescriptors = fences
        var expected = configuration
        expected.quotas.bos = fittedBOs
        expected.quotas.fenceDescriptors = fittedFences
        #expect(configuration.fitted(toDescriptorLimit: limit) == expected)
    }

    @Test func theDefaultsFitIntoTheUsualLimit() {
        let defaults = DaemonConfiguration()
        #expect(defaults.quotas.bos == 4096)
        #expect(defaults.quotas.fenceDescriptors == 1024)
        #expect(defaults.fitted(toDescriptorLimit: 20_000) == defaults)
    }

    @Test func theDeviceHasTheQuotasOfTheConfiguration() {
        var configuration = DaemonConfiguration()
        configuration.quotas = .init(
            boBytes: 8 << 20, bos: 1, vms: 2, queues: 3, syncobjs: 4, mappings: 5,
            jobsInFlight: 6, fenceDescriptors: 7)
        let quotas = DeviceSessions.deviceConfiguration(configuration).quotas
        #expect(quotas.bufferBytes == 8_388_608)
        #expect(quotas.buffers == 1)
        #expect(quotas.vms == 2)
        #expect(quotas.queues == 3)
        #expect(quotas.syncobjs == 4)
        #expect(quotas.mappings == 5)
        #expect(quotas.jobsInFlight == 6)
        #expect(quotas.descriptors == 7)
        // Who uses a device without a daemon gets the same.
        let defaults = DeviceSessions.deviceConfiguration(DaemonConfiguration())
        #expect(DeviceConfiguration().quotas == defaults.quotas)
    }
}
