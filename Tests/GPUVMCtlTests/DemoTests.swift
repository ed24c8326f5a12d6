import CWireProtocol
import GPUVMClient
import Glibc
import Testing
import WireProtocol

@testable import gpuvmctl

@Suite struct DemoTests {
    // MARK: The host model

    /// Two pages of A, one of B; every expected byte below is worked out by hand.
    private func smallScenario() -> DemoScenario {
        DemoScenario(
            base: 2 << 20, seed: 9, areaBytes: 8192, bufferBBytes: 4096, steps: [], commands: [],
            walk: 0, fault: 4096)
    }

    @Test func modelFollowsMappingsAndCommands() {
        var model = DemoModel(smallScenario())
        let a = model.a
        let b = model.b
        #expect(a.count == 8192 && b.count == 4096 && model.out.allSatisfy { $0 == 0 })
        #expect(a[0..<64] != a[64..<128] && a[0..<64] != b[0..<64])

        model.apply(.map(.b, at: 4096, bytes: 4096, offset: 0))
        model.apply(.copy(from: .area(4090), to: .out(0), bytes: 12))
        #expect(Array(model.out[0..<12]) == Array(a[4090..<4096]) + Array(b[0..<6]))

        model.apply(.storeDword(.area(4096), 0x0403_0201))
        #expect(Array(model.b[0..<4]) == [1, 2, 3, 4] && model.a == a)

        model.apply(.mapNull(at: 0, bytes: 4096))
        model.apply(.fill(.area(0), bytes: 16, pattern: 0xffff_ffff))
        model.apply(.copy(from: .area(0), to: .out(0), bytes: 16))
        #expect(model.a == a && model.out[0..<16].allSatisfy { $0 == 0 })

        model.apply(.fill(.out(101), bytes: 6, pattern: 0x0d0c_0b0a))
        #expect(Array(model.out[100..<108]) == [0, 0xa, 0xb, 0xc, 0xd, 0xa, 0xb, 0])
    }

    @Test func modelCopiesLineByLine() {
        var model = DemoModel(smallScenario())
        let a = model.a
        model.apply(
            .copyPitched(
                from: .area(3), fromPitch: 100, to: .out(5), toPitch: 10, bytes: 7, lines: 3))
        for line in 0..<3 {
            let expected = Array(a[(3 + line * 100)..<(10 + line * 100)])
            #expect(Array(model.out[(5 + line * 10)..<(12 + line * 10)]) == expected)
        }
        #expect(model.out[12] == 0 && model.out[4] == 0 && model.out[32] == 0)
        model.apply(.storeQword(.out(40), 0x0807_0605_0403_0201))
        #expect(Array(model.out[40..<48]) == [1, 2, 3, 4, 5, 6, 7, 8])
    }

    @Test func seedChangesTheContents() {
        var other = smallScenario()
        other.seed = 10
        #expect(DemoModel(smallScenario()).a == DemoModel(smallScenario()).a)
        #expect(DemoModel(smallScenario()).a != DemoModel(other).a)
    }

    // MARK: The scenario

    @Test func standardScenarioStaysInItsArea() {
        let scenario = DemoScenario.standard(base: 0x8000_0000, seed: 3)
        #expect(scenario.base == 0x8000_0000 && scenario.seed == 3)
        for bind in scenario.steps.flatMap(\.binds) {
            switch bind {
            case .map(let buffer, let at, let bytes, let offset):
                #expect(at % 4096 == 0 && bytes % 4096 == 0 && offset % 4096 == 0)
                #expect(at + bytes <= scenario.areaBytes)
                let limit = buffer == .a ? scenario.areaBytes : scenario.bufferBBytes
                #expect(offset + bytes <= limit)
            case .mapNull(let at, let bytes), .unmap(let at, let bytes):
                #expect(at % 4096 == 0 && bytes % 4096 == 0 && at + bytes <= scenario.areaBytes)
            }
        }
        // The model traps on anything outside of its buffers.
        var model = DemoModel(scenario)
        for bind in scenario.steps.flatMap(\.binds) { model.apply(bind) }
        for command in scenario.commands { model.apply(command) }
        #expect(model.out.contains { $0 != 0 })
        #expect(scenario.span == scenario.controlOffset + 65536)
    }

    @Test(arguments: ["0x100001000", "0", "0xffffffe00000", "0xfffffffffffff000", "banana"])
    func impossibleBaseAddressIsAUsageError(base: String) {
        #expect(throws: (any Error).self) {
            try DemoOptions.parse(["--base-address", base])
        }
    }

    @Test func optionsChangeTheScenario() throws {
        let options = try DemoOptions.parse(["--base-address", "0x40000000", "--seed", "5"])
        #expect(options.scenario == DemoScenario.standard(base: 0x4000_0000, seed: 5))
        #expect(try DemoOptions.parse([]).scenario == DemoScenario.standard())
    }

    // MARK: The print

    private func report(base: UInt64) -> DemoReport {
        var report = DemoReport()
        report.server.name = "device"
        var info = gpuvm_bo_info_reply()
        info.size = 8192
        info.name = WireName.encode("buffer")
        report.buffers = [.init(handle: 4, info: info)]
        var record = gpuvm_op_record()
        record.kind = GPUVM_OP_REMAP.rawValue
        record.case_number = 11
        record.flags = GPUVM_OP_HAS_PREV | GPUVM_OP_HAS_NEXT | GPUVM_OP_KEEP
        record.mapping = gpuvm_mapping(address: base, range: 0x3000, offset: 0, bo: 4, flags: 0)
        record.prev = gpuvm_mapping(address: base, range: 0x1000, offset: 0, bo: 4, flags: 0)
        record.next = gpuvm_mapping(
            address: base + 0x2000, range: 0x1000, offset: 0x2000, bo: 4, flags: 0)
        report.binds = [
            .init(title: "a split", fence: FenceID(context: 1, sequence: 2), operations: [record])
        ]
        report.verifiedBytes = 8192
        return report
    }

    @Test(arguments: [UInt64(0x10_0000), 0x7000_0000])
    func printFollowsTheReport(base: UInt64) {
        let lines = DemoText.lines(report(base: base))
        let at = { (offset: UInt64) in "0x" + String(base + offset, radix: 16) }
        #expect(
            lines.contains(
                "     11  REMAP keep  [\(at(0));\(at(0x3000))] buffer+0x0"))
        #expect(
            lines.contains(
                String(repeating: " ", count: 21)
                    + "prev [\(at(0));\(at(0x1000))] buffer+0x0  "
                    + "next [\(at(0x2000));\(at(0x3000))] buffer+0x2000"))
        #expect(lines.last?.hasPrefix("demo: PASS (8192 bytes verified, ") == true)
    }

    @Test func anythingWrongIsAFailure() {
        var wrong = report(base: 0)
        wrong.mismatches = [
            .init(buffer: "demo-out", offset: 16, expected: 1, found: 2, count: 3)
        ]
        let lines = DemoText.lines(wrong)
        #expect(lines.last?.hasPrefix("demo: FAIL") == true)
        #expect(lines.contains("demo-out+0x10: found 0x02 instead of 0x01 (3 bytes differ)"))
        var problem = report(base: 0)
        problem.problems = ["the queue is not banned"]
        #expect(!problem.passed)
        #expect(DemoText.lines(problem).contains("the queue is not banned"))
        #expect(!DemoReport().passed)
    }

    @Test func jsonHasTheVerdictAndTheCase() {
        let text = JSON.document(DemoJSON.members(report(base: 0x1000))).text
        #expect(text.hasPrefix("{\n  \"schema_version\": 1,\n  \"verdict\": \"pass\","))
        #expect(text.contains("\"case\": 11"))
    }

    // MARK: Processes

    @Test func childrenReportHowTheyEnded() throws {
        #expect(try ChildProcess("/bin/true", []).wait() == .status(0))
        #expect(try ChildProcess("/bin/sh", ["-c", "exit 7"]).wait() == .status(7))
        let sleeper = try ChildProcess("/bin/sh", ["-c", "kill -9 $$"])
        #expect(sleeper.wait() == .signal(SIGKILL))
        #expect(throws: WireError.self) { try ChildProcess("/nonexistent/program", []) }
        // Whatever signals the starting thread blocks: the testing library's block them all.
        let idle = try ChildProcess("/bin/sleep", ["60"])
        idle.terminate()
        #expect(idle.wait() == .signal(SIGTERM))
        #expect(ChildProcess.ownPath()?.hasPrefix("/") == true)
    }
}
