import Foundation
import Glibc
import TestSupport
import Testing

@testable import gpuvmctl

/// Runs of programs under `gpuvmctl run`, each with a directory for temporary files of its own.
final class RunFixture {
    struct Result {
        var exit: ChildProcess.Exit
        var output: String
        var errors: String
        /// The lines of the summary, by their first word; the first line is under "run:".
        var summary: [String: String] {
            var lines: [String: String] = [:]
            for line in errors.split(separator: "\n") {
                let words = line.split(separator: " ")
                guard let first = words.first else { continue }
                if first == "gpuvmctl", words.count > 1 {
                    lines[String(words[1])] = words.dropFirst(2).joined(separator: " ")
                } else if line.hasPrefix("  ") {
                    lines[String(first)] = words.dropFirst().joined(separator: " ")
                }
            }
            return lines
        }
    }

    let directory: TemporaryDirectory

    /// What lies beside the tests.
    static func product(_ name: String) -> String {
        let own = ChildProcess.ownPath() ?? ""
        return String(own[...(own.lastIndex(of: "/") ?? own.startIndex)]) + name
    }

    static let program = product("DRMProgram")
    /// A sanitized build has no shim, and `gpuvmctl run` needs it.
    static let isPossible =
        access(product("libgpuvm-drm-shim.so"), R_OK) == 0 && access(program, X_OK) == 0

    init() throws {
        directory = try TemporaryDirectory()
        try #require(mkdir("\(directory.path)/tmp", 0o700) == 0)
    }

    /// What a run leaves among the temporary files: nothing.
    var leftovers: [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: "\(directory.path)/tmp")) ?? ["?"]
    }

    /// Starts `gpuvmctl run` with `arguments`; the caller waits.
    func start(_ arguments: [String], output: Int32, errors: Int32) throws -> ChildProcess {
        try ChildProcess(
            "/usr/bin/env",
            ["TMPDIR=\(directory.path)/tmp", "COLUMNS=40", try gpuvmctlPath(), "run"] + arguments,
            fds: [(STDOUT_FILENO, output), (STDERR_FILENO, errors)])
    }

    /// Runs `gpuvmctl run` with `arguments` to its end.
    func run(_ arguments: [String]) throws -> Result {
        let output = try file("stdout")
        let errors = try file("stderr")
        defer {
            close(output)
            close(errors)
        }
        let exit = try start(arguments, output: output, errors: errors).wait()
        return Result(exit: exit, output: try text("stdout"), errors: try text("stderr"))
    }

    /// A file for a program's output, empty.
    func file(_ name: String) throws -> Int32 {
        let descriptor = open(
            "\(directory.path)/\(name)", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        try #require(descriptor >= 0)
        return descriptor
    }

    func text(_ name: String) throws -> String {
        try String(contentsOfFile: "\(directory.path)/\(name)", encoding: .utf8)
    }

    func path(_ name: String) -> String { "\(directory.path)/\(name)" }

    /// The objects of a file of JSON lines.
    func lines(_ name: String) throws -> [[String: Any]] {
        try text(name).split(separator: "\n").map {
            try #require(
                try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
    }

    func document(_ name: String) throws -> [String: Any] {
        try #require(
            try JSONSerialization.jsonObject(with: Data(try text(name).utf8)) as? [String: Any])
    }
}
