/// Compares vector files with what this software does.
public enum VectorCheck {
    /// Runs every file, each on an interpreter of its own.
    ///
    /// - Parameters:
    ///   - paths: Files, or folders of which all `*.jsonl` are taken.
    ///   - output: Gets each failing file with its first differing line, and at the end
    ///     `N passed, M failed`; lines without a line end.
    public static func run(
        paths: [String], output: (String) -> Void
    ) throws(VectorError) -> (passed: Int, failed: Int) {
        var passed = 0
        var failed = 0
        try compare(paths: paths) { path, difference in
            guard let difference else {
                passed += 1
                return
            }
            failed += 1
            output("\(path): \(difference)")
        }
        output("\(passed) passed, \(failed) failed")
        return (passed, failed)
    }

    /// Runs every file as ``run(paths:output:)`` does.
    ///
    /// - Parameter body: Gets each file's path and its first differing line, nil if there is none.
    public static func compare(
        paths: [String], _ body: (_ path: String, _ difference: String?) -> Void
    ) throws(VectorError) {
        for path in try VectorFiles.expand(paths) {
            body(path, firstDifference(in: try VectorFiles.lines(of: path)))
        }
    }

    private static func firstDifference(in lines: [String]) -> String? {
        let interpreter = VectorInterpreter()
        var compared = 0
        for (index, text) in lines.enumerated() {
            guard let line = VectorLine(text) else {
                return "line \(index + 1): not a vector line: \(text)"
            }
            let actual = interpreter.run(command: line.command)
            guard let expected = line.result else { continue }
            compared += 1
            if actual != expected {
                return """
                    line \(index + 1): \(line.command)
                      expected \(expected)
                      actual   \(actual)
                    """
            }
        }
        return compared == 0 ? "no results to compare with" : nil
    }
}
