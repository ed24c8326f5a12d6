import ArgumentParser
import CWireProtocol
import GPUVMClient
import Glibc
import WireProtocol

/// `gpuvmctl run`: starts an unmodified DRM program on the simulated GPU.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Runs a program of DRM's (Vulkan drivers, libdrm tools) on the simulated GPU.",
        discussion: """
            The program is not changed: a preloaded library answers what it asks of /dev/dri and \
            forwards its ioctls. Without --daemon a private daemon is started and ended with it. \
            Standard streams, exit status and signals are the program's own; at the end a summary \
            says what the daemon did for it.
            """)

    @Option(name: .long, help: "The GPU to be: tu104 or ad104. Of a private daemon.")
    var device = "tu104"

    @Option(name: .long, help: "The socket of a running daemon.")
    var daemon: String?

    @Option(name: .long, help: "Another root file system to run the program in (needs root).")
    var root: String?

    @Option(name: .long, help: "Fail if the program had fewer ioctls served.")
    var requireIoctls: UInt64?

    @Flag(name: .long, help: "Explain each call that the shim answers, on standard error.")
    var debug = false

    @Flag(name: .long, help: "Say nothing at the end.")
    var quiet = false

    @Argument(parsing: .captureForPassthrough, help: "The program and its arguments.")
    var program: [String]

    func run() throws {
        let words = program.first == "--" ? Array(program.dropFirst()) : program
        guard !words.isEmpty else { throw ValidationError("no program to run") }
        // A terminal's interrupt is the program's; this process cleans up after it.
        for number in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] { signal(number, SIG_IGN) }
        let launched: PrivateDaemon?
        let exit: ChildProcess.Exit
        let before: gpuvm_drm_info_reply
        let after: gpuvm_drm_info_reply
        do {
            launched =
                daemon == nil
                ? try PrivateDaemon.start(configuration: "device:\n  model: \(device)\n") : nil
            let socket = daemon ?? launched?.socketPath ?? ""
            let connection = try Connection.connect(path: socket, name: "gpuvmctl run")
            before = try connection.drmInfo()
            let environment = try ShimEnvironment(socket: socket, explains: debug)
            exit = try environment.launch(words, root: root).wait()
            after = try connection.drmInfo()
        } catch {
            GlobalOptions.complain("\(error)")
            throw GlobalOptions.unavailable
        }
        defer { launched?.stop() }
        let summary = RunSummary(from: before, to: after)
        if !quiet { GlobalOptions.complain(summary.text) }
        if let requireIoctls, summary.ioctls < requireIoctls {
            GlobalOptions.complain(
                "only \(summary.ioctls) ioctls were served and \(requireIoctls) are required")
            throw ExitCode(1)
        }
        switch exit {
        case .status(0): return
        case .status(let status): throw ExitCode(status)
        case .signal(let number):
            launched?.stop()
            signal(number, SIG_DFL)
            kill(getpid(), number)
        }
    }
}
