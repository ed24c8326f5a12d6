import Foundation
import TestSupport
import Testing

@testable import gpuvmctl

/// What a run says at its end, against what Tests/DRMProgram does; the numbers are counted by hand.
@Suite("Summaries of runs", .enabled(if: RunFixture.isPossible), .timeLimit(.minutes(2)))
struct RunSummaryTests {
    private let fixture: RunFixture

    init() throws { fixture = try RunFixture() }

    @Test("Calls by name, errors by errno, operations asked for and done")
    func binds() throws {
        let result = try fixture.run(
            ["--summary-json", fixture.path("summary"), "--", RunFixture.program, "binds"])
        #expect(result.exit == .status(0), "\(result.output)\(result.errors)")
        let lines = result.summary
        #expect(
            lines["run:"] == """
                14 ioctls (3 answered an errno, 1 unknown), 8 bind operations, 0 push buffers, 7 \
                jobs (0 failed), 0 faults, 0 bytes read and 0 written through the MMUs
                """)
        #expect(
            lines["ioctls"] == "VM_BIND 7, GETPARAM 3, 0x647f 1, GEM_CLOSE 1, GEM_NEW 1, VM_INIT 1")
        #expect(lines["errors"] == "GETPARAM EINVAL 2, 0x647f EINVAL 1")
        #expect(lines["asked"] == "map 3, unmap 3, sparse map 1, sparse unmap 1")
        #expect(lines["core"] == "did map 3, unmap 3, remap 1, sparse map 1, sparse unmap 1")
        #expect(lines["jobs"] == "exec 0, bind 7")

        let document = try fixture.document("summary")
        #expect(document["schema_version"] as? Int == 1)
        #expect(document["device"] as? String == "tu104")
        #expect(document["exit_status"] as? Int == 0)
        let totals = try #require(document["totals"] as? [String: Int])
        #expect(totals["ioctls"] == 14 && totals["bind_jobs"] == 7)
        #expect(totals["failed_ioctls"] == 3 && totals["faults"] == 0)
        let done = try #require(document["done"] as? [[String: Any]])
        #expect(done.first { $0["name"] as? String == "remap" }?["count"] as? Int == 1)
        let files = try #require(document["files"] as? [[String: Any]])
        #expect(files.count == 1)
        #expect(files[0]["name"] as? String == "DRMProgram")
        #expect(files[0]["ioctls"] as? Int == 14 && files[0]["failed_ioctls"] as? Int == 3)
        #expect(files[0]["closed_ns"] is Int)
    }

    /// One file of the parent, which a grandchild uses, and three of the children: each is opened with
    /// a GETPARAM, and four processes make ten.
    @Test("Several processes and forks are counted, each once")
    func forks() throws {
        let result = try fixture.run(
            ["--summary-json", fixture.path("summary"), "--", RunFixture.program, "forks"])
        #expect(result.exit == .status(0), "\(result.output)\(result.errors)")
        #expect(result.summary["ioctls"] == "GETPARAM 44")
        let files = try #require(try fixture.document("summary")["files"] as? [[String: Any]])
        #expect(files.compactMap { $0["ioctls"] as? Int }.sorted() == [11, 11, 11, 11])
        #expect(Set(files.compactMap { $0["pid"] as? Int }).count == 4)
    }

    @Test("A fault is one line: what, where, who")
    func fault() throws {
        let result = try fixture.run(
            ["--log", fixture.path("log"), "--", RunFixture.program, "fault"])
        #expect(result.exit == .status(0), "\(result.output)\(result.errors)")
        let line = result.errors.split(separator: "\n").filter { $0.hasPrefix("  fault 1: ") }
        #expect(line.count == 1)
        #expect(line.first?.contains("fetch of 0xdead0000: not mapped; DRMProgram (pid ") == true)
        #expect(result.summary["run:"]?.contains("2 jobs (1 failed), 1 faults") == true)
        // The log is where it was sent, and has it too.
        #expect(try fixture.text("log").contains("GPU fault"))
        #expect(!result.errors.contains("GPU fault"))
    }

    @Test("A warning of the daemon goes to standard error, unless it is told less")
    func warnings() throws {
        let loud = try fixture.run(["--quiet", "--", RunFixture.program, "fault"])
        #expect(loud.errors.contains("error gpuvmd: GPU fault"))
        #expect(!loud.errors.contains(" info ") && !loud.errors.contains(" notice "))
        let silent = try fixture.run(
            ["--quiet", "--log-level", "critical", "--", RunFixture.program, "fault"])
        #expect(silent.errors.isEmpty)
    }

    @Test("A method that no engine carries out is named with its class")
    func refused() throws {
        let result = try fixture.run(["--", RunFixture.program, "dispatch"])
        #expect(
            result.summary["refused"] == "class 0xc5c0 method 0x02bc SEND_SIGNALING_PCAS_B 1")
    }

    /// The fullest is just before the sparse region's mapping goes: the first mapping in two pieces,
    /// of 4 and 8 pages, 2 pages at the 16th of the region's 256. Rows have 22 cells: 40 columns less
    /// 18.
    @Test("The picture is of the fullest state")
    func picture() throws {
        let result = try fixture.run(
            ["--picture", "--quiet", "--", RunFixture.program, "binds"])
        #expect(
            result.errors.contains(
                """
                  000000100000  64 KiB, one character is 4 KiB
                  000000100000 |VVVV....VVVVVVVV|
                  000000110000  hole of 3008 KiB
                  000000400000  1 MiB, one character is 16 KiB
                  000000400000 |====v=================|
                                ~~~~~~~~~~~~~~~~~~~~~~
                """), "\(result.errors)")
        #expect(result.errors.contains("3 mappings\n"))
        #expect(result.errors.contains("V VRAM 56 KiB, = sparse, nothing mapped 1016 KiB\n"))
        #expect(!result.errors.contains("\u{1b}"), "no colours in a file")
    }
}
