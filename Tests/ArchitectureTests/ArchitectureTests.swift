import Foundation
import Testing

/// The tree shows the architecture: what each module may import, and what only the seam may call.
@Suite("Architecture")
struct ArchitectureTests {
    /// The module table of the design: who may import whom. A module that is not here fails.
    private static let allowed: [String: Set<String>] = [
        "CPlatform": [],
        "CWireProtocol": [],
        "Fencing": ["CPlatform"],
        "GPUVMCore": ["Fencing"],
        "PageTables": ["Fencing"],
        "Memory": ["GPUVMCore", "PageTables", "Fencing", "CPlatform"],
        "Scheduling": ["Fencing"],
        "Engines": ["PageTables", "Fencing", "CWireProtocol", "CPlatform"],
        "Device": [
            "Fencing", "GPUVMCore", "PageTables", "Memory", "Scheduling", "Engines", "CPlatform",
        ],
        "WireProtocol": ["CWireProtocol", "CPlatform"],
        "GPUVMDaemon": [
            "Device", "WireProtocol", "CWireProtocol", "CPlatform", "Fencing", "GPUVMCore",
            "PageTables", "Memory", "Scheduling", "Engines",
        ],
        "GPUVMClient": ["WireProtocol", "CWireProtocol", "Fencing", "CPlatform"],
        "VectorTool": ["GPUVMCore", "Fencing"],
        "gpuvmd": ["GPUVMDaemon"],
        "gpuvmctl": [
            "GPUVMClient", "GPUVMDaemon", "VectorTool", "WireProtocol", "CWireProtocol", "Fencing",
        ],
    ]

    /// Modules of pure logic: no Foundation, no logging, no configuration.
    private static let pure = [
        "Fencing", "GPUVMCore", "PageTables", "Memory", "Scheduling", "Engines", "Device",
        "WireProtocol", "GPUVMClient",
    ]

    private static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    private struct Source {
        var module: String
        var path: String
        var lines: [String]
    }

    private static func sources() throws -> [Source] {
        let folder = root.appending(path: "Sources")
        let paths = try #require(FileManager.default.enumerator(atPath: folder.path()))
        return try paths.compactMap { $0 as? String }.filter { $0.hasSuffix(".swift") }.map {
            let text = try String(contentsOf: folder.appending(path: $0), encoding: .utf8)
            return Source(
                module: String($0.prefix { $0 != "/" }), path: $0,
                lines: text.components(separatedBy: "\n"))
        }
    }

    private static func imports(_ source: Source) -> Set<String> {
        Set(
            source.lines.compactMap { line in
                let words = line.trimmingCharacters(in: .whitespaces).split(separator: " ")
                guard let index = words.firstIndex(of: "import"), index <= 1,
                    index + 1 < words.count
                else { return nil }
                return String(words[index + 1])
            })
    }

    @Test("Imports run one way, as the module table says")
    func imports() throws {
        let sources = try Self.sources()
        #expect(sources.count > 100)
        for source in sources {
            guard let allowed = Self.allowed[source.module] else {
                Issue.record("\(source.module) is not in the module table")
                continue
            }
            let own = Self.imports(source).intersection(Self.allowed.keys)
            #expect(own.isSubset(of: allowed), "\(source.path) imports \(own.subtracting(allowed))")
        }
    }

    @Test("The module table has no cycle")
    func acyclic() {
        var left = Self.allowed
        while let leaf = left.first(where: { $0.value.allSatisfy { left[$0] == nil } })?.key {
            left[leaf] = nil
        }
        #expect(left.isEmpty, "a cycle among \(left.keys.sorted())")
    }

    @Test("Pure modules import no Foundation and no logging")
    func purity() throws {
        let forbidden: Set = [
            "Foundation", "FoundationEssentials", "Dispatch", "Logging", "Configuration", "Yams",
        ]
        for source in try Self.sources() where Self.pure.contains(source.module) {
            let found = Self.imports(source).intersection(forbidden)
            #expect(found.isEmpty, "\(source.path) imports \(found)")
        }
    }

    /// Threads, locks, parking and the clock go through `Fencing/Runtime`, so that a seeded
    /// scheduler can take the operating system's place.
    @Test("Nothing goes around the Runtime seam")
    func seam() throws {
        let forbidden = [
            "pthread_", "clock_gettime", "usleep(", "nanosleep(", "DispatchQueue", "Mutex<",
            "Task.detached", "= Task {", "Thread.sleep", "sleep(for",
        ]
        for source in try Self.sources() where !source.path.hasPrefix("Fencing/Runtime/") {
            for (number, line) in source.lines.enumerated() {
                let code = line.prefix(upTo: line.range(of: "//")?.lowerBound ?? line.endIndex)
                for word in forbidden where code.contains(word) {
                    Issue.record("\(source.path):\(number + 1) uses \(word)")
                }
            }
        }
    }

    @Test("No trap is reachable by force: try!, as! and unowned promises stay out")
    func traps() throws {
        for source in try Self.sources() {
            for (number, line) in source.lines.enumerated() {
                let code = line.prefix(upTo: line.range(of: "//")?.lowerBound ?? line.endIndex)
                for word in ["try!", " as! "] where code.contains(word) {
                    Issue.record("\(source.path):\(number + 1) has \(word)")
                }
            }
        }
    }

    /// A promise that the compiler does not check stands beside its reason.
    @Test("Every @unchecked Sendable says why")
    func reasons() throws {
        for source in try Self.sources() {
            for (number, line) in source.lines.enumerated()
            where line.contains("@unchecked Sendable") {
                let before = source.lines[max(0, number - 40)..<number].filter {
                    $0.trimmingCharacters(in: .whitespaces).hasPrefix("//")
                }
                #expect(
                    before.contains { $0.contains("@unchecked") },
                    "\(source.path):\(number + 1) gives no reason")
            }
        }
    }

    @Test("Every mutant that is planted is in the list of `make test-mutants`, and the reverse")
    func mutants() throws {
        var planted: Set<String> = []
        for source in try Self.sources() {
            for line in source.lines {
                for piece in line.components(separatedBy: "isPlanted(\"").dropFirst() {
                    planted.insert(String(piece.prefix { $0 != "\"" }))
                }
            }
        }
        let script = try String(
            contentsOf: Self.root.appending(path: "Tests/run-mutants"), encoding: .utf8)
        let listed = Set(
            script.components(separatedBy: "\n").filter { $0.hasPrefix("  \"") }.compactMap {
                $0.split(separator: " ").first.map { String($0.dropFirst()) }
            })
        #expect(planted == listed)
        #expect(planted.count >= 8)
    }
}
