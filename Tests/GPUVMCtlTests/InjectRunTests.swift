import Foundation
import Testing

@testable import gpuvmctl

/// `gpuvmctl run --inject`: what an unmodified DRM program is answered, and what the summary says.
@Suite(
    "Running programs with faults on purpose", .enabled(if: RunFixture.isPossible),
    .timeLimit(.minutes(2)))
struct InjectRunTests {
    private let fixture: RunFixture

    init() throws { fixture = try RunFixture() }

    private static let course =
        ["vm-init"] + Array(repeating: "gem-new", count: 4) + [
            "vm-bind", "channel-alloc", "syncobj-create", "mmap", "exec", "wait", "check",
        ]

    /// The lines of a course in which the calls with these indices answer an errno.
    private func answers(_ errors: [Int: String] = [:]) -> String {
        Self.course.indices.map { "\(Self.course[$0]) \(errors[$0] ?? "0")\n" }.joined()
    }

    private func run(_ rules: String...) throws -> RunFixture.Result {
        try fixture.run(
            rules.flatMap { ["--inject", $0] }
                + ["--summary-json", fixture.path("summary"), "--", RunFixture.program, "errors"])
    }

    @Test("Without a rule nothing fails, and the summary has none")
    func none() throws {
        let result = try run()
        #expect(result.exit == .status(0) && result.output == answers())
        #expect(result.summary["injected"] == nil)
        let document = try fixture.document("summary")
        #expect((document["injections"] as? [Any])?.isEmpty == true)
        #expect((document["injection_firings"] as? [Any])?.isEmpty == true)
    }

    @Test("Requests that are short of memory, by their numbers")
    func shortage() throws {
        let result = try run("oom:op=gem-new,after=1,count=2", "oom:op=syncobj-create+mmap,every=2")
        #expect(result.exit == .status(0))
        #expect(result.output == answers([2: "ENOMEM", 3: "ENOMEM", 8: "ENOMEM"]))
        #expect(
            result.errors.contains(
                """
                  injected  rule 1, oom:op=gem-new,after=1,count=2: fired 2 times at 3 requests
                """))
        #expect(
            result.errors.contains("rule 2, oom:op=syncobj-create+mmap,every=2,count=unlimited"))
        let document = try fixture.document("summary")
        let rules = try #require(document["injections"] as? [[String: Any]])
        #expect(rules.map { $0["fired"] as? Int } == [2, 1])
        #expect(rules.map { $0["met"] as? Int } == [3, 2])
        let firings = try #require(document["injection_firings"] as? [[String: Any]])
        #expect(firings.map { $0["rule"] as? Int } == [1, 1, 2])
        #expect(firings.map { $0["ordinal"] as? Int } == [2, 3, 2])
        #expect(firings.allSatisfy { $0["name"] as? String == "DRMProgram" })
    }

    @Test("A fault is in the summary as one that a rule made")
    func fault() throws {
        let result = try run("fault:address=0x123000,access=write,name=DRMProgram")
        // A job's error is no error of the wait.
        #expect(result.output == answers([11: "ENODEV"]))
        #expect(result.errors.contains("fault 1 injected by rule 1: write of 0x123000: not mapped"))
        let faults = try #require(try fixture.document("summary")["faults"] as? [[String: Any]])
        #expect(faults.count == 1 && faults[0]["injected_by"] as? Int == 1)
        #expect(faults[0]["address"] as? String == "0x123000")
    }

    @Test("A lost device refuses the submission and all later ones")
    func deviceLost() throws {
        let result = try run("device-lost")
        #expect(result.output == answers([9: "ENODEV", 10: "EINVAL", 11: "ENODEV"]))
    }

    @Test("A rule of others does nothing, and delays and evictions show in time alone")
    func harmless() throws {
        let result = try run(
            "oom:name=somebody", "delay:duration=30ms", "delay:op=vm-bind,duration=30ms",
            "eviction")
        #expect(result.exit == .status(0) && result.output == answers())
        let document = try fixture.document("summary")
        let rules = try #require(document["injections"] as? [[String: Any]])
        #expect(rules.map { $0["fired"] as? Int } == [0, 1, 1, 1])
        let totals = try #require(document["totals"] as? [String: Any])
        // Three of the buffers that gem-new made are mapped nowhere.
        #expect(totals["evictions"] as? Int == 1 && totals["restores"] as? Int == 1)
    }

    @Test("The trace has every firing")
    func trace() throws {
        let result = try fixture.run([
            "--trace", fixture.path("trace"), "--inject", "oom:op=gem-new,count=3", "--",
            RunFixture.program, "errors",
        ])
        #expect(result.output == answers([1: "ENOMEM", 2: "ENOMEM", 3: "ENOMEM"]))
        let events = try fixture.lines("trace").filter { $0["event"] as? String == "injected" }
        #expect(events.map { $0["ordinal"] as? Int } == [1, 2, 3])
        #expect(events.allSatisfy { $0["operation"] as? String == "gem-new" })
    }

    @Test("A bad rule is wrong usage, before anything is started")
    func badRules() throws {
        for (rule, why) in [
            ("oom:op=gem-knew", "--inject “oom:op=gem-knew”: op=gem-knew is no request"),
            ("eviction:now", "now is before the program starts"), ("bang", "no kind is called"),
        ] {
            let result = try fixture.run(["--inject", rule, "--", "/bin/echo", "started"])
            #expect(result.exit == .status(64) && result.output.isEmpty, "\(rule)")
            #expect(result.errors.contains(why), "\(result.errors)")
        }
        let refused = try fixture.run(
            ["--inject", "oom:op=gem-new,vm=1", "--", "/bin/echo", "started"])
        #expect(refused.exit == .status(64) && refused.output.isEmpty)
        #expect(refused.errors.contains("oom at gem-new"), "\(refused.errors)")
        let foreign = try fixture.run(
            ["--daemon", "/nonexistent", "--inject", "hang", "--", "/bin/echo", "started"])
        #expect(foreign.exit == .status(64))
        #expect(foreign.errors.contains("`gpuvmctl inject` makes them there"))
    }
}
