import ArgumentParser
import GPUVMDaemon
import Logging

/// The command line of the daemon, and nothing else: ``DaemonMain`` does the work.
@main
struct GPUVMDCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gpuvmd",
        abstract: "A GPU driver as an ordinary process.",
        discussion: """
            Serves GPU address spaces, bind and exec queues of a simulated GPU on a Unix socket \
            until SIGTERM or SIGINT, which let submitted jobs finish; a second one does not.
            Exit status: 0 ended as asked, 64 wrong usage, 69 the device does not start, \
            71 the system refused something, 73 the socket's path is unusable, 75 another gpuvmd \
            serves the socket, 78 the configuration is wrong.
            """,
        version: "gpuvmd \(DaemonVersion.string)")

    @Option(
        help: ArgumentHelp(
            "Read this configuration instead of \(ConfigurationLoader.standardFile).",
            valueName: "file"))
    var config: String?

    @Option(help: ArgumentHelp("Listen on this path.", valueName: "path"))
    var socket: String?

    @Option(
        name: .customLong("log-level"),
        help: "Write log lines of this level and above.",
        transform: { text in
            guard let level = Logger.Level(rawValue: text) else {
                throw ValidationError(
                    "it takes \(Logger.Level.allCases.map(\.rawValue).joined(separator: ", "))")
            }
            return level
        })
    var logLevel: Logger.Level?

    @Flag(
        name: .customLong("check-config"),
        help: "Say whether the configuration is right, and end.")
    var checkConfig = false

    @Flag(
        name: .customLong("print-config"),
        help: "Print the configuration that is in force, and end.")
    var printConfig = false

    @Option(
        name: .customLong("ready-fd"),
        help: ArgumentHelp(
            "Write \"ready\" to this descriptor and close it when clients can connect.",
            valueName: "number"))
    var readyFD: Int32?

    func validate() throws {
        if checkConfig && printConfig {
            throw ValidationError("--check-config and --print-config exclude each other")
        }
        if let socket, socket.isEmpty { throw ValidationError("--socket takes a path") }
    }

    func run() async throws {
        var options = DaemonOptions()
        if checkConfig { options.action = .checkConfiguration }
        if printConfig { options.action = .printConfiguration }
        options.configurationFile = config
        options.socketPath = socket
        options.logLevel = logLevel
        options.readyFD = readyFD
        let status = await DaemonMain.run(options, makeHandler: DeviceSessions.make)
        throw ExitCode(status.rawValue)
    }
}
