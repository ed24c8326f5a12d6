import CWireProtocol
import Testing

@testable import gpuvmctl

/// What `demo --pressure` says: its verdict, its table, its JSON.
@Suite struct PressureOutputTests {
    private let mib: UInt64 = 1 << 20

    // MARK: The verdict

    /// A report of a run that went well, with numbers of the test's choice.
    private func report(evictions: UInt64 = 70, seed: UInt64 = 3) -> PressureReport {
        var scenario = PressureScenario(capacity: 64 * mib)
        scenario.seed = seed
        var report = PressureReport(scenario: scenario)
        report.server = "a daemon"
        report.before.evictions = 1000
        report.before.restores = 500
        report.before.bytes_moved = 1 << 40
        for index in 0..<3 {
            report.clients[index] = .init(
                id: UInt32(index + 10), vms: 4, buffers: 20, bytes: 88 * mib, rounds: 5,
                jobs: 20, verifiedBytes: 88 * mib)
        }
        var memory = report.before
        memory.vram = gpuvm_memory_region(
            bytes: 64 * mib, used: 60 * mib, visible_bytes: 64 * mib, visible_used: 60 * mib)
        memory.system.used = 204 * mib
        memory.evictions += evictions
        memory.restores += 30
        memory.bytes_moved += 300 * mib
        var owners = [PressureResidency](repeating: .init(), count: 3)
        owners[1] = .init(vramBytes: 22 * mib, evictedBytes: 66 * mib, resident: 5, evicted: 15)
        report.samples = [
            PressureSample(
                elapsed: 2_345_000_000, memory: memory, owners: owners, others: .init(),
                rounds: [5, 6, 7], jobs: [20, 24, 28])
        ]
        report.elapsed = 3_000_000_000
        return report
    }

    @Test func allIsWell() {
        let report = report()
        #expect(report.passed && report.failures == [])
        #expect(report.evictions == 70 && report.restores == 30)
        #expect(report.bytesMoved == 300 * mib && report.overcommitTenths == 41)
        #expect(
            PressureText.verdict(report) == [
                """
                demo: PASS (276824064 bytes of 60 buffers verified, VRAM 4.1 times over-committed by \
                12 VMs, 60 jobs, 70 evictions, 30 restores, 300.0 MiB moved, 0 faults, 3.000 s)
                """
            ])
    }

    @Test func anythingWrongIsAFailure() {
        func verdict(_ change: (inout PressureReport) -> Void) -> (Bool, String) {
            var report = report()
            change(&report)
            return (report.passed, PressureText.verdict(report).joined(separator: "\n"))
        }
        let nothing = verdict { $0.samples = [] }
        #expect(!nothing.0 && nothing.1.contains("nothing was evicted, so nothing is proved"))
        let faults = verdict { $0.faults = 2 }
        #expect(!faults.0 && faults.1.contains("demo: FAIL: 2 faults ("))
        let unverified = verdict { $0.clients[2].verifiedBytes -= 1 }
        #expect(!unverified.0 && unverified.1.contains("276824063 of 276824064 bytes verified"))
        let little = verdict {
            $0.clients[2].bytes = 0
            $0.clients[2].verifiedBytes = 0
        }
        #expect(!little.0 && little.1.contains("not over-committed"))
        let problem = verdict { $0.problems = ["client 2: it ended \u{1b}[2J"] }
        #expect(!problem.0 && problem.1.contains("client 2: it ended ?[2J\n"))
        let wrong = verdict {
            $0.mismatches = [
                .init(
                    client: 1, buffer: "vm-2.1-0",
                    difference: .init(offset: 4096, expected: 3, found: 255, count: 12))
            ]
        }
        #expect(!wrong.0)
        #expect(
            wrong.1.contains(
                "client 2, vm-2.1-0+0x1000: found 0xff instead of 0x03 (12 bytes differ)"))
        #expect(!PressureReport(scenario: PressureScenario(capacity: mib)).passed)
    }

    @Test func aWorkingSetThatCannotFitIsSaidInWords() {
        var report = report()
        report.scenario.capacity = 16 * mib
        report.isMemoryRefused = true
        report.problems = ["client 1: EXEC: VRAM is used up [ENOSPC]"]
        let lines = PressureText.verdict(report)
        #expect(lines[1].hasPrefix("the 22 MiB of buffers that one VM maps do not fit into 16 MiB"))
        report.scenario.capacity = 64 * mib
        #expect(!PressureText.verdict(report).contains { $0.contains("do not fit") })
    }

    @Test func residencyIsCountedByPlace() {
        var residency = PressureResidency()
        var buffer = gpuvm_bo_record()
        buffer.size = 4096
        residency.add(buffer)
        #expect(residency == .init())
        buffer.wanted = GPUVM_PLACE_VRAM
        residency.add(buffer)
        buffer.placement = GPUVM_PLACE_VRAM
        buffer.size = 8192
        residency.add(buffer)
        #expect(
            residency == .init(vramBytes: 8192, evictedBytes: 4096, resident: 1, evicted: 1))
    }

    // MARK: The print

    @Test func tableFollowsTheSample() throws {
        let report = report()
        let sample = try #require(report.samples.last)
        #expect(
            PressureText.table(sample, since: report.before) == [
                """
                2.345 s  VRAM 60.0 MiB of 64 MiB used, system 204.0 MiB; 70 evictions, 30 restores, \
                300.0 MiB moved
                """,
                "  OWNER      IN VRAM   EVICTED  BOS IN VRAM  BOS EVICTED  ROUNDS  JOBS",
                "  client 1       0 B       0 B            0            0       5    20",
                "  client 2  22.0 MiB  66.0 MiB            5           15       6    24",
                "  client 3       0 B       0 B            0            0       7    28",
                "  others         0 B       0 B            0            0",
            ])
        var other = sample
        other.owners[0].vramBytes = 1 << 30
        other.memory.evictions += 1
        let lines = PressureText.table(other, since: report.before)
        #expect(lines[2].contains("1.0 GiB") && lines[0].contains("71 evictions"))
        #expect(
            PressureText.progress(sample, since: report.before) == """
                2.345 s  in VRAM: client 1 0 B, client 2 22.0 MiB, client 3 0 B (5 BOs, 15 \
                evicted); 70 evictions, 30 restores, 300.0 MiB moved
                """)
    }

    @Test(arguments: [UInt64(3), 77]) func headerFollowsTheScenario(seed: UInt64) {
        let lines = PressureText.header("a daemon", report(seed: seed).scenario)
        #expect(
            lines == [
                "a daemon",
                """
                  seed \(seed): 3 clients, 12 VMs of 22 MiB each, 264 MiB of buffers for 64 MiB of \
                VRAM
                """,
            ])
    }

    @Test func aTerminalGetsOneTable() throws {
        let report = report()
        var sample = try #require(report.samples.last)
        var output = ""
        let display = PressureDisplay(isTerminal: true) { output += $0 }
        display.begin("a daemon", report.scenario, before: report.before)
        #expect(output.hasPrefix("a daemon\n  seed 3: "))
        output = ""
        display.show(sample)
        #expect(!output.contains("\u{1b}[6A") && output.count(of: "\n") == 6)
        #expect(output.count(of: "\u{1b}[K\n") == 6)
        output = ""
        sample.elapsed += 1
        display.show(sample)
        #expect(output.hasPrefix("\u{1b}[6A2.345 s"))
        output = ""
        display.end(sample)
        #expect(output.hasPrefix("\u{1b}[6A"))
    }

    @Test func anythingElseGetsALineASecond() throws {
        let report = report()
        var sample = try #require(report.samples.last)
        var output = ""
        let display = PressureDisplay(isTerminal: false) { output += $0 }
        display.begin("a daemon", report.scenario, before: report.before)
        output = ""
        for step in 0..<25 as Range<UInt64> {
            sample.elapsed = step * 100_000_000
            display.show(sample)
        }
        #expect(output.count(of: "\n") == 3 && !output.contains("\u{1b}"))
        #expect(output.hasPrefix("  0.000 s  in VRAM") && output.contains("\n  2.000 s"))
        output = ""
        display.end(sample)
        #expect(output.count(of: "\n") == 6 && !output.contains("\u{1b}"))
    }

    @Test func jsonHasTheVerdictTheClientsAndTheSamples() {
        let text = JSON.document(PressureJSON.members(report())).text
        #expect(text.hasPrefix("{\n  \"schema_version\": 1,\n  \"verdict\": \"pass\","))
        for member in [
            "\"failures\": [],", "\"seed\": 3,", "\"vram_bytes\": 67108864,",
            "\"evictions\": 70,", "\"bytes_moved\": 314572800,", "\"id\": 11,",
            "\"verified_bytes\": 276824064,", "\"evicted_bytes\": 69206016,",
        ] { #expect(text.contains(member), "\(member)") }
        var wrong = report()
        wrong.mismatches = [
            .init(
                client: 0, buffer: "b",
                difference: .init(offset: 1, expected: 2, found: 3, count: 4))
        ]
        let failed = JSON.document(PressureJSON.members(wrong)).text
        #expect(failed.contains("\"verdict\": \"fail\",") && failed.contains("\"found\": 3,"))
    }
}

extension String {
    fileprivate func count(of part: String) -> Int {
        var count = 0
        var rest = self[...]
        while let range = rest.firstRange(of: part) {
            count += 1
            rest = rest[range.upperBound...]
        }
        return count
    }
}
