import Foundation
import TestSupport
import Testing
import VectorTool

/// The vector tool where its input is not what it should be.
@Suite struct InterpreterTests {
    static let refused = #"{"err":"EINVAL"}"#

    @Test(arguments: [
        "", " ", "map", "map 0", "map 0 1000 1", "map 0 1000 1 0 0", "map -1 1000 1 0",
        "map 10000000000000000 1 1 0", "map 0x10 1 1 0", "map AB 1 1 0", "map 0 1000 -1 0",
        "map 0 1000 99999999999999999999 0", "unmap 0", "nonsense", "bo 0 ext", "bo 1 other",
        "bo 1", "evict 1", "evict 1 2", "evict 0 1", "exec_lock", "exec_lock 1", "exec_lock 1 2",
        "exec_lock 99999999999 0", "exec_lock 1 0 x", "exec_range 0 1 1", "exec_map 0 1 1 0",
        "vm", "vm 0 1 2", "vm 0 1 2 3 xx", "validate x", "lists 1", "refs 1", "find 0",
        "find_prev", "empty 1", "bo_unmap 0", "bo_unmap", "hash 1", "dump 1", "close 1",
        "map é 1 1 0",
    ])
    func malformed(_ command: String) {
        let interpreter = VectorInterpreter()
        #expect(interpreter.run(command: "map 0 1000 1 0") == Self.refused, "no VM yet")
        #expect(
            interpreter.run(command: "vm 0 100000 0 0") == #"{"ok":true,"warns":0}"#)
        #expect(interpreter.run(command: command) == Self.refused)
        #expect(interpreter.run(command: "dump") == #"{"maps":[]}"#)
    }

    @Test func lifeOfAVM() {
        let interpreter = VectorInterpreter()
        let answers = [
            "vm ffffffffffff0000 20000 ffffffffffffffff 1", "vm 0 100000 f0000 10000",
            "map 0 1000 3 5000", "refs", "dump", "close", "dump", "hash",
        ].map(interpreter.run(command:))
        #expect(
            answers[..<6] == [
                #"{"ok":true,"warns":2}"#, #"{"ok":true,"warns":0}"#,
                #"{"ops":[["map",["0","1000",3,"5000"]]]}"#, #"{"vm":3,"bos":[[3,2,1,1]]}"#,
                #"{"maps":[["0","1000",3,"5000"],["f0000","10000",-1,"0"]]}"#,
                #"{"freed":true,"warns":0}"#,
            ])
        #expect(answers[6] == Self.refused)
        // FNV-1a-64 of "[]", from another implementation.
        #expect(answers[7].hasSuffix(#""n":7,"dh":"09612b07b5ecb5a5","maps":0}"#))
    }

    /// Random words, numbers and bytes: an answer each time.
    @Test(arguments: [41, 42, 43] as [UInt64])
    func garbage(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let interpreter = VectorInterpreter()
        let words = [
            "vm", "bo", "map", "map_ops", "unmap", "unmap_ops", "madvise", "madvise_ops", "insert",
            "remove", "find", "find_first", "find_prev", "find_next", "empty", "valid", "evict",
            "validate", "lists", "exec_lock", "exec_range", "exec_map", "exec_unmap", "refs",
            "cleanup", "dump", "hash", "prefetch", "bo_unmap", "bo_unmap_ops", "ext", "priv", "rp",
            "im",
        ]
        let numbers = [
            "0", "1", "2", "3", "1000", "2000", "fff", "10000", "ffffffffffffffff",
            "fffffffffffff000", "8000000000000000", "-1", "g",
        ]
        for _ in 0..<6000 {
            var command = words.randomElement(using: &random) ?? ""
            for _ in 0..<(random.next() % 6) {
                let isNumber = random.next() % 8 != 0
                command += " " + ((isNumber ? numbers : words).randomElement(using: &random) ?? "")
            }
            let answer = interpreter.run(command: command)
            #expect(answer.hasPrefix("{") && answer.hasSuffix("}"), "seed \(seed): \(command)")
        }
    }

    @Test func runQuotesItsInput() {
        let interpreter = VectorInterpreter()
        #expect(VectorRun.answer("  ", interpreter) == nil)
        #expect(
            VectorRun.answer("a\"b\\\u{1}", interpreter)
                == #"{"i":"a\"b\\\u0001","o":{"err":"EINVAL"}}"#)
    }

    @Test func checkReportsTheFirstDifference() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
            "vectors-\(UUID().uuidString)")
        try FileManager.default.createDirectory(
            at: folder.appendingPathComponent("deep"), withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        func write(_ name: String, _ text: String) throws {
            try text.write(
                to: folder.appendingPathComponent(name), atomically: true, encoding: .utf8)
        }
        let start = #"{"i":"vm 0 100000 0 0","o":{"ok":true,"warns":0}}"# + "\n"
        try write("good.jsonl", start + #"{ "i": "find 0 1", "o": {"va": null} }"# + "\n")
        try write("deep/bad.jsonl", start + #"{"i":"find 0 1","o":{"va":1}}"# + "\n")
        try write("broken.jsonl", start + "not json\n")
        try write("empty.jsonl", "")
        try write("silent.jsonl", #"{"i":"vm 0 1000 0 0"}"#)
        try write("other.txt", "ignored")
        var lines: [String] = []
        let result = try VectorCheck.run(paths: [folder.path]) { lines.append($0) }
        #expect(result.passed == 1 && result.failed == 4)
        #expect(lines.last == "1 passed, 4 failed")
        let bad = try #require(lines.first { $0.contains("bad.jsonl") })
        #expect(bad.contains("line 2") && bad.contains(#"expected {"va":1}"#))
        #expect(bad.contains(#"actual   {"va":null}"#))
        #expect(throws: VectorError.unreadable(path: "/nonexistent", errno: 2)) {
            try VectorCheck.run(paths: ["/nonexistent"]) { _ in }
        }
        #expect(throws: VectorError.noVectors) {
            try VectorCheck.run(paths: []) { _ in }
        }
    }
}
