import Fencing
import GPUVMClient
import GPUVMDaemon
import Glibc
import Testing
import WireProtocol

@testable import gpuvmctl

/// `demo --pressure` against real daemons, with clients in threads and as processes.
@Suite(.timeLimit(.minutes(3)))
struct PressureRunTests {
    /// Runs the demo with its clients in threads of this process.
    private func run(_ scenario: PressureScenario, _ path: String) throws -> PressureReport {
        let observer = try Connection.connect(path: path, name: "observer")
        var channels: [PressureChannel] = []
        var threads: [RuntimeThread] = []
        for number in 0..<PressureScenario.clients {
            let (own, theirs) = try UnixSocket.pair()
            channels.append(PressureChannel(own))
            let channel = PressureChannel(theirs)
            let thread = RuntimeThread.start(name: "pressure") {
                guard
                    let connection = try? Connection.connect(
                        path: path, name: "pressure-\(number + 1)")
                else { return }
                let client = PressureClient(
                    connection, scenario, number: number, channel: channel)
                _ = client.run()
                client.waitForEnd()
                connection.close()
            }
            threads.append(try #require(thread))
        }
        var samples = 0
        var run = try PressureRun(observer, scenario, channels: channels) { _ in samples += 1 }
        run.run()
        let report = run.report
        #expect(samples == report.samples.count && samples > 0)
        // The ends of the channels are the clients' ends.
        for channel in channels { channel.end() }
        for thread in threads { thread.join() }
        observer.close()
        return report
    }

    private func small(
        _ configuration: inout DaemonConfiguration, vram: UInt64
    ) {
        configuration.device.vram = vram
        configuration.device.systemMemory = 256 << 20
    }

    @Test(arguments: [UInt64(1), 99]) func everyByteSurvives(seed: UInt64) throws {
        try withDaemon({ small(&$0, vram: 16 << 20) }) { path in
            var scenario = PressureScenario(capacity: 16 << 20)
            scenario.seed = seed
            scenario.workingSet = 6 << 20
            scenario.maxRounds = 4
            scenario.duration = 20_000_000_000
            let report = try run(scenario, path)
            #expect(report.passed, "\(report.failures) \(report.problems) \(report.mismatches)")
            #expect(report.vms == 12 && report.buffers == 60)
            #expect(report.verifiedBytes == 72 << 20 && report.overcommitTenths == 45)
            #expect(report.jobs == 48 && report.clients.allSatisfy { $0.rounds == 4 })
            #expect(report.evictions > 20 && report.bytesMoved > 0)
            // At the end all buffers are somebody's, in one place or the other.
            let last = try #require(report.samples.last)
            let all = last.owners.reduce(0) { $0 + $1.vramBytes + $1.evictedBytes }
            #expect(all == 72 << 20 && last.others == PressureResidency())
            #expect(last.owners.reduce(0) { $0 + $1.vramBytes } <= 16 << 20)
        }
    }

    /// Enough VRAM: everything is right, and nothing is proved.
    @Test func withoutPressureItFails() throws {
        try withDaemon({ small(&$0, vram: 128 << 20) }) { path in
            var scenario = PressureScenario(capacity: 16 << 20)
            scenario.workingSet = 6 << 20
            scenario.maxRounds = 2
            let report = try run(scenario, path)
            #expect(!report.passed && report.problems.isEmpty && report.mismatches.isEmpty)
            #expect(report.verifiedBytes == report.bytes && report.evictions == 0)
            #expect(
                PressureText.verdict(report).last?.contains(
                    "demo: FAIL: nothing was evicted, so nothing is proved") == true)
        }
    }

    @Test func aWorkingSetThatCannotFitIsTold() throws {
        try withDaemon({ small(&$0, vram: 16 << 20) }) { path in
            let report = try run(PressureScenario(capacity: 16 << 20), path)
            #expect(!report.passed && report.isMemoryRefused)
            #expect(report.problems.contains { $0.contains("EXEC: ") && $0.contains("[ENOSPC]") })
            #expect(
                PressureText.verdict(report).contains { $0.contains("do not fit into 16 MiB") })
        }
    }

    // MARK: As processes

    @Test func threeProcessesAndAPrivateDaemon() throws {
        let (exit, output) = try gpuvmctl([
            "demo", "--pressure", "--vram", "16MiB", "--working-set", "6MiB", "--rounds", "3",
        ])
        #expect(exit == .status(0), "\(output)")
        #expect(output.contains("3 clients, 12 VMs of 6 MiB each, 72 MiB of buffers for 16 MiB"))
        #expect(output.contains("demo: PASS (75497472 bytes of 60 buffers verified, VRAM 4.5"))
    }

    @Test func aGivenDaemonAndJSON() throws {
        try withDaemon({ small(&$0, vram: 32 << 20) }) { path in
            let (exit, output) = try gpuvmctl([
                "demo", "--pressure", "--socket", path, "--working-set", "12MiB", "--rounds",
                "2", "--json", "--seed", "12",
            ])
            #expect(exit == .status(0), "\(output)")
            #expect(output.hasPrefix("{\n  \"schema_version\": 1,\n  \"verdict\": \"pass\","))
            #expect(output.contains("\"vram_bytes\": 33554432,"))
            #expect(output.contains("\"seed\": 12,"))
            let (listed, memory) = try gpuvmctl(["memory", "--socket", path, "--json"])
            #expect(listed == .status(0) && memory.contains("\"evictions\": "))
            #expect(try gpuvmctl(["bo", "list", "--socket", path]).0 == .status(0))
        }
    }

    @Test func theFailingWayHasItsExitStatus() throws {
        let (exit, output) = try gpuvmctl(["demo", "--pressure", "--vram", "16MiB"])
        #expect(exit == .status(1))
        #expect(output.contains("the 22 MiB of buffers that one VM maps do not fit into 16 MiB"))
        #expect(output.contains("demo: FAIL: "))
        #expect(try gpuvmctl(["demo", "--pressure", "--vram", "3MiB"]).0 == .status(64))
        #expect(try gpuvmctl(["demo-pressure-client", "--socket", "/x"]).0 == .status(64))
        let nobody = "/tmp/gpuvmctl-nobody-\(getpid()).sock"
        #expect(try gpuvmctl(["demo", "--pressure", "--socket", nobody]).0 == .status(69))
    }
}
