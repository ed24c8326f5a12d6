import Testing
import VectorTool

/// The vectors recorded from the kernel, all families.
@Suite struct VectorTests {
    static let folder = String(#filePath.dropLast("VectorTests.swift".count)) + "Vectors"

    @Test(arguments: [
        "doc", "core", "keep", "byte", "edge", "madvise", "lists", "quirk", "large",
    ])
    func family(_ name: String) throws {
        let paths = try VectorFolder.files(in: Self.folder).filter { $0.hasPrefix(name + "-") }
        try #require(!paths.isEmpty)
        var report = ""
        let result = try VectorCheck.run(paths: paths.map { Self.folder + "/" + $0 }) {
            report += $0 + "\n"
        }
        #expect(result.failed == 0, "\(report)")
        #expect(result.passed == paths.count)
    }
}
