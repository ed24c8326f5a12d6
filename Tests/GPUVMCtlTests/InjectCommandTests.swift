import Foundation
import GPUVMClient
import GPUVMDaemon
import Testing
import WireProtocol

@testable import gpuvmctl

/// `gpuvmctl inject` as a process, against a daemon in this one.
@Suite("gpuvmctl inject", .timeLimit(.minutes(1)))
struct InjectCommandTests {
    private func document(_ text: String) throws -> [String: Any] {
        let parsed = try JSONSerialization.jsonObject(with: Data(text.utf8))
        return try #require(parsed as? [String: Any])
    }

    @Test("Rules are made, met, listed and cleared")
    func course() throws {
        try withDaemon { path in
            func run(_ words: String...) throws -> (ChildProcess.Exit, String) {
                try gpuvmctl(["inject"] + words + ["--socket", path])
            }
            #expect(try run("list") == (.status(0), "no rules\n"))
            #expect(try run("list", "--firings") == (.status(0), "no rule has fired\n"))
            let victim = try Connection.connect(path: path, name: "victim")
            let other = try Connection.connect(path: path, name: "other")
            let made = try run(
                "oom", "--op", "syncobj-create", "--after", "1", "--count", "2", "--target",
                "name=victim")
            #expect(made == (.status(0), "rule 1\n"))
            let errors = (0..<4).map { _ -> Bool in
                do throws(ClientError) {
                    _ = try victim.makeSyncobj()
                    return false
                } catch { return error.code == .noMemory }
            }
            #expect(errors == [false, true, true, false])
            _ = try other.makeSyncobj()
            let whole = try run("delay:duration=5ms,op=vm-bind,pid=\(getpid())", "--json")
            let answer = try document(whole.1)
            #expect(answer["schema_version"] as? Int == 1 && answer["id"] as? Int == 2)
            #expect(
                answer["rule"] as? String
                    == "delay:op=vm-bind,duration=5ms,count=1,pid=\(getpid())")
            let list = try run("list").1.split(separator: "\n").map(String.init)
            #expect(list.count == 3)
            #expect(list[0].split(separator: " ") == ["ID", "STATE", "MET", "FIRED", "RULE"])
            #expect(
                list[1].split(separator: " ") == [
                    "1", "spent", "3", "2", "oom:op=syncobj-create,after=1,count=2,name=victim",
                ])
            #expect(list[2].contains("active") && list[2].contains("delay:op=vm-bind"))
            let rules = try document(try run("list", "--json").1)
            let rule = try #require((rules["injections"] as? [[String: Any]])?.first)
            #expect(rule["kind"] as? String == "oom" && rule["active"] as? Bool == false)
            #expect(rule["met"] as? Int == 3 && rule["fired"] as? Int == 2)
            let fired = try document(try run("list", "--firings", "--json").1)
            let firings = try #require(fired["firings"] as? [[String: Any]])
            #expect(firings.map { $0["ordinal"] as? Int } == [2, 3])
            #expect(firings.allSatisfy { $0["name"] as? String == "victim" })
            #expect(firings.allSatisfy { $0["operation"] as? String == "syncobj-create" })
            #expect(try run("clear", "2") == (.status(0), "1 rule cleared\n"))
            #expect(try run("clear", "2").0 == .status(1))
            #expect(try run("clear") == (.status(0), "1 rule cleared\n"))
            #expect(try run("list").1 == "no rules\n")
            let now = try run("eviction", "--now", "--json")
            #expect(try document(now.1)["affected"] as? Int == 0)
            #expect(
                try run("device-lost", "--now", "--target", "name=victim").1 == "0 queues killed\n")
        }
    }

    @Test("Wrong usage is 64 and says what is wrong; nobody to be asked is 69")
    func usage() throws {
        let words: [[String]] = [
            [], ["explode"], ["oom", "--count", "none"], ["oom", "--target", "host=a"],
            ["oom", "--target", "client"], ["delay"], ["hang", "--now"], ["clear", "0"],
            ["oom:count=2", "--after", "1"], ["oom:count"], ["hang", "fault"],
        ]
        for list in words {
            #expect(try gpuvmctl(["inject"] + list).0 == .status(64), "\(list)")
        }
        let nobody = try gpuvmctl(["inject", "hang", "--socket", "/nonexistent/socket"])
        #expect(nobody.0 == .status(69))
    }
}
