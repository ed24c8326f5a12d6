import ArgumentParser
import CWireProtocol
import GPUVMDaemon
import Glibc
import Logging

/// `gpuvmctl run`: starts an unmodified DRM program on the simulated GPU.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Runs a program of DRM's (Vulkan drivers, libdrm tools) on the simulated GPU.",
        discussion: """
            The program is not changed: a preloaded library answers what it asks of /dev/dri and \
            forwards its ioctls. Without --daemon a daemon of its own serves it, in this process, \
            and ends with it; what that daemon has to warn of goes to standard error, or to --log. \
            Standard streams, exit status and signals are the program's own; at the end a summary \
            on standard error says what the daemon did for it. A signal that comes before the program \
            starts or after it has ended ends the run, without the summary.

            Exit status: the program's, or its signal; 1 if --require-ioctls was not met, 64 wrong \
            usage, 69 no daemon or no shim, 73 a file cannot be made, 126 and 127 the program \
            cannot be started.
            """)

    @Option(name: .long, help: "The GPU to be: \(Self.models). Without it tu104, or --daemon's.")
    var device: String?

    @Option(name: .long, help: "The socket of a running daemon.")
    var daemon: String?

    @Option(name: .long, help: "Another root file system to run the program in (needs root).")
    var root: String?

    @Option(name: .long, help: "Fail if the program had fewer ioctls served.")
    var requireIoctls: UInt64?

    @Option(name: .long, help: "Write what happens to this file, a JSON object in each line.")
    var trace: String?

    @Flag(
        name: .long,
        help: "At the end, draw each VM's address space as it was with the most mappings.")
    var picture = false

    @Option(name: .long, help: "Write the summary to this file, as JSON.")
    var summaryJson: String?

    @Option(name: .long, help: "Append the log of the run's own daemon to this file.")
    var log: String?

    @Option(
        name: .long, help: "What that log holds: \(Self.levels); without it warning and above.")
    var logLevel: String?

    @Option(name: .long, help: "The configuration of the run's own daemon, a YAML file.")
    var config: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            """
            Make a fault on purpose, such as oom:op=gem-new,after=3,count=2, by a rule as of \
            `gpuvmctl inject`; may be repeated.
            """, valueName: "rule"))
    var inject: [String] = []

    @Flag(name: .long, help: "Explain each call that the shim answers, on standard error.")
    var debug = false

    @Flag(name: .long, help: "Say nothing at the end.")
    var quiet = false

    @Argument(parsing: .captureForPassthrough, help: "The program and its arguments.")
    var program: [String]

    /// EX_CANTCREAT of sysexits.h.
    static let cannotCreate = ExitCode(73)

    private static var models: String {
        GPUModel.allCases.map(\.rawValue).joined(separator: ", ")
    }
    private static var levels: String {
        Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
    }

    /// The program and its arguments.
    var words: [String] {
        program.first == "--" ? Array(program.dropFirst()) : program
    }

    func validate() throws {
        guard !words.isEmpty else { throw ValidationError("no program to run") }
        if let device, GPUModel(rawValue: device) == nil {
            throw ValidationError("no GPU is called \(device): there are \(Self.models)")
        }
        if let logLevel, Logger.Level(rawValue: logLevel) == nil {
            throw ValidationError("--log-level \(logLevel): it takes \(Self.levels)")
        }
        _ = try rules()
        guard daemon != nil else { return }
        guard inject.isEmpty else {
            throw ValidationError(
                """
                --inject is of the run's own daemon: other clients of a running one would meet \
                the faults too (`gpuvmctl inject` makes them there, with --target)
                """)
        }
        let own = [
            ("--trace", trace != nil), ("--picture", picture), ("--log", log != nil),
            ("--log-level", logLevel != nil), ("--config", config != nil),
        ]
        if let (name, _) = own.first(where: \.1) {
            throw ValidationError(
                """
                \(name) is of the run's own daemon: with --daemon SOCKET nobody in this process \
                sees what happens (`gpuvmctl vm map` draws the VMs of a running daemon)
                """)
        }
    }

    /// The rules of --inject.
    func rules() throws -> [gpuvm_injection] {
        try inject.map { text in
            do throws(InjectionText.Problem) {
                let rule = try InjectionText.parse(text)
                guard rule.flags & GPUVM_INJECT_NOW == 0 else {
                    throw InjectionText.Problem(
                        text: """
                            “\(text)”: now is before the program starts: after=… counts its jobs
                            """)
                }
                return rule
            } catch {
                throw ValidationError("--inject \(error.text)")
            }
        }
    }

    func run() throws {
        // Before any thread is there.
        let signals = RunSignals()
        try ProgramRun(command: self, signals: signals).run()
    }
}
