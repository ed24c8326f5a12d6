import CWireProtocol
import GPUVMClient
import Glibc
import Testing
import WireProtocol

@testable import gpuvmctl

/// The demo against a real daemon, in this process and as the processes that a user gets.
@Suite(.timeLimit(.minutes(2)))
struct DemoRunTests {
    private func run(_ scenario: DemoScenario, _ path: String) throws -> DemoReport {
        let connection = try Connection.connect(path: path, name: "demo-test")
        defer { connection.close() }
        let (report, error) = DemoClientCommand.report(connection, scenario)
        #expect(error == nil)
        return report
    }

    @Test func everyByteIsRight() throws {
        try withDaemon { path in
            let report = try run(.standard(), path)
            #expect(report.passed, "\(report.problems) \(report.mismatches)")
            #expect(report.verifiedBytes == 5 << 20)
            #expect(report.pending?.before.walk.result == GPUVM_WALK_FAULT.rawValue)
            #expect(report.pending?.after?.walk.result == GPUVM_WALK_MEMORY.rawValue)
            let cases = report.binds.flatMap(\.operations).map(\.case_number).filter { $0 != 0 }
            #expect(Set(cases).isSuperset(of: [1, 6, 9, 11, 15]), "\(cases)")
            #expect(DemoText.lines(report).count <= 85)
        }
    }

    /// The scenario is changed: other addresses, other sizes, fewer steps.
    @Test func printFollowsTheScenario() throws {
        try withDaemon { path in
            var scenario = DemoScenario.standard(base: 0x7000_0000_0000, seed: 77)
            scenario.areaBytes = 4 << 20
            scenario.steps = [
                .init(title: "one page", binds: [.map(.b, at: 4096, bytes: 4096, offset: 8192)]),
                .init(title: "no page", binds: [.unmap(at: 3 << 20, bytes: 1 << 20)]),
            ]
            scenario.commands = [.copy(from: .area(0), to: .out(100), bytes: 65_536)]
            scenario.walk = 4096
            scenario.fault = (3 << 20) + 16
            let report = try run(scenario, path)
            #expect(report.passed, "\(report.problems) \(report.mismatches)")
            #expect(report.verifiedBytes == 9 << 20)
            let lines = DemoText.lines(report)
            #expect(lines.contains("page-table walk of 0x700000001000"))
            #expect(
                lines.contains("      -  MAP         [0x700000001000;0x700000002000] demo-b+0x2000")
            )
            #expect(lines.contains { $0.hasPrefix("fault 1: write of 0x700000300010: not mapped") })
            #expect(!lines.contains { $0.contains("0x100000000;") })
            // Two binds of the demo itself come before the scenario's two; one page is a 4 KiB leaf.
            #expect(lines.contains("  4. no page"))
            #expect(!lines.contains { $0.hasPrefix("  5. ") })
            #expect(report.walk?.leaf_bytes == 4096)
        }
    }

    @Test func twoDemosDoNotDisturbEachOther() throws {
        try withDaemon { path in
            let first = try run(.standard(seed: 1), path)
            let second = try run(.standard(seed: 2), path)
            #expect(first.passed && second.passed)
            #expect(first.fault?.id != second.fault?.id)
            let observer = try Connection.connect(path: path, name: "observer")
            #expect(try observer.faults().count == 2)
            observer.close()
        }
    }

    // MARK: As processes

    @Test func clientProcessTalksToARunningDaemon() throws {
        try withDaemon { path in
            let (exit, output) = try gpuvmctl(["demo", "--socket", path, "--seed", "5"])
            #expect(exit == .status(0))
            #expect(output.contains("demo: PASS (5242880 bytes verified, "))
            let (listed, json) = try gpuvmctl(["status", "--socket", path, "--json"])
            #expect(listed == .status(0))
            #expect(json.hasPrefix("{\n  \"schema_version\": 1,"))
            #expect(json.contains("\"faults\": 1,"))
            #expect(json.contains("\"vms\": 0,"))
        }
    }

    @Test func privateDaemonLeavesNothingBehind() throws {
        var template = Array("/tmp/gpuvmctl-test-XXXXXX".utf8CString)
        let directory = try #require(mkdtemp(&template).map { String(cString: $0) })
        let (exit, output) = try output(
            of: "/usr/bin/env",
            [
                "-u", "GPUVM_SOCKET", "-u", "XDG_RUNTIME_DIR", "TMPDIR=\(directory)",
                try gpuvmctlPath(), "demo", "--json",
            ])
        #expect(exit == .status(0))
        #expect(output.hasPrefix("{\n  \"schema_version\": 1,\n  \"verdict\": \"pass\","))
        // rmdir(2) refuses a directory that has anything in it.
        #expect(rmdir(directory) == 0)
    }

    @Test func exitStatusTellsWhatWentWrong() throws {
        let nobody = "/tmp/gpuvmctl-nobody-\(getpid()).sock"
        #expect(try gpuvmctl(["status", "--socket", nobody]).0 == .status(69))
        #expect(try gpuvmctl(["demo", "--socket", nobody]).0 == .status(69))
        #expect(try gpuvmctl(["vm", "walk", "1", "banana"]).0 == .status(64))
        try withDaemon { path in
            let (exit, _) = try gpuvmctl(["vm", "show", "9", "--socket", path])
            #expect(exit == .status(1))
        }
    }
}
