import ArgumentParser
import VectorTool

/// `gpuvmctl vectors …`.
struct VectorsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vectors", abstract: "Runs recorded kernel scenarios through the VM core.",
        subcommands: [Check.self, Run.self])

    /// `gpuvmctl vectors check PATH…`.
    struct Check: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "check",
            abstract: "Compares the core's results with the recorded ones.",
            discussion: """
                Prints each failing file with the first line that differs. The exit status is 1 if \
                any failed.
                """)

        @Argument(help: "Vector files, or folders of them.")
        var paths: [String]

        @Flag(name: .long, help: "Print JSON; every document has a schema_version.")
        var json = false

        func run() throws {
            guard json else {
                let result = try VectorCheck.run(paths: paths) { print($0) }
                if result.failed > 0 { throw ExitCode(1) }
                return
            }
            var passed: UInt64 = 0
            var failures: [JSON] = []
            try VectorCheck.compare(paths: paths) { path, difference in
                if let difference {
                    failures.append(
                        .object([
                            ("path", .string(path)), ("difference", .string(difference)),
                        ]))
                } else {
                    passed += 1
                }
            }
            let document = JSON.document([
                ("passed", .number(passed)), ("failed", .number(UInt64(failures.count))),
                ("failures", .array(failures)),
            ])
            print(document.text)
            if !failures.isEmpty { throw ExitCode(1) }
        }
    }

    /// `gpuvmctl vectors run`.
    struct Run: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "run",
            abstract: "Carries out the commands of standard input and prints their results.")

        func run() throws {
            VectorRun.run()
        }
    }
}
