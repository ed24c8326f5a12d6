import ArgumentParser
import GPUVMClient
import Glibc
import WireProtocol

/// The options that change the demo's scenario.
struct DemoOptions: ParsableArguments {
    @Option(name: .long, help: "Determines the contents of the buffers.")
    var seed: UInt64 = 1

    @Option(
        name: .long, help: "Where in the address space it happens; a multiple of 2 MiB.")
    var baseAddress = Address(value: 0x1_0000_0000)

    /// The scenario that the options describe.
    var scenario: DemoScenario { .standard(base: baseAddress.value, seed: seed) }

    func validate() throws {
        let scenario = scenario
        let (end, overflow) = scenario.base.addingReportingOverflow(scenario.span)
        guard scenario.base % DemoScenario.alignment == 0, scenario.base >= DemoScenario.alignment,
            !overflow, end <= 1 << 48
        else {
            throw ValidationError(
                """
                --base-address \(hex(scenario.base)): it has to be a multiple of 2 MiB, not 0, with \
                \(size(scenario.span)) below \(hex(1 << 48))
                """)
        }
    }
}

/// `gpuvmctl demo`: finds or starts a daemon and runs the client in a process of its own.
struct DemoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Shows a VM's life: bind behind a timeline, split, copy, fault.",
        discussion: """
            Starts a private daemon if none runs. A separate client process creates a VM and \
            buffers, binds asynchronously behind a timeline point, splits the mappings, makes a \
            sparse hole, copies through it, checks every byte and provokes one fault. All that it \
            prints comes from the daemon. The exit status is 1 if anything is not as it has to be.

            With --pressure three client processes fill, copy and check buffers of four times the \
            VRAM, while a table shows who has how much of it. Every byte is compared at the end. The \
            daemon is a private one with little VRAM, unless --socket names one.
            """)

    @OptionGroup var options: GlobalOptions
    @OptionGroup var demo: DemoOptions
    @OptionGroup(title: "Memory pressure") var pressure: PressureOptions

    func validate() throws {
        try pressure.check(demo, hasSocket: options.socket != nil)
    }

    func run() throws {
        // An interrupt ends the children, and this process then cleans up after them.
        for number in [SIGINT, SIGTERM, SIGHUP] { signal(number, SIG_IGN) }
        if pressure.pressure {
            try PressureLauncher(options: options, demo: demo, pressure: pressure).run()
            return
        }
        if let path = try runningDaemon() {
            try runClient(path)
            return
        }
        let daemon: PrivateDaemon
        do throws(WireError) {
            daemon = try PrivateDaemon.start()
        } catch {
            GlobalOptions.complain("\(error)")
            throw GlobalOptions.unavailable
        }
        defer { daemon.stop() }
        try runClient(daemon.socketPath)
        guard daemon.stop() == .status(0) else {
            GlobalOptions.complain("the private daemon did not end cleanly")
            throw ExitCode(1)
        }
    }

    /// The socket of a daemon that answers; nil if none does and none was named.
    private func runningDaemon() throws -> String? {
        for path in SocketPath.candidates(explicit: options.socket) {
            do throws(ClientError) {
                try Connection.connect(path: path, name: "gpuvmctl").close()
                return path
            } catch {
                guard options.socket == nil else {
                    GlobalOptions.complain("\(error)")
                    throw GlobalOptions.unavailable
                }
            }
        }
        return nil
    }

    private func runClient(_ path: String) throws {
        guard let program = ChildProcess.ownPath() else {
            GlobalOptions.complain("the path of this program is unknown")
            throw ExitCode(1)
        }
        var arguments = [
            DemoClientCommand.name, "--socket", path, "--seed", "\(demo.seed)", "--base-address",
            hex(demo.baseAddress.value),
        ]
        if options.json { arguments.append("--json") }
        let exit: ChildProcess.Exit
        do throws(WireError) {
            exit = try ChildProcess(program, arguments).wait()
        } catch {
            GlobalOptions.complain("\(error)")
            throw ExitCode(1)
        }
        switch exit {
        case .status(0): return
        case .status(let status): throw ExitCode(status)
        case .signal(let number):
            GlobalOptions.complain("the demo's client was ended by signal \(number)")
            throw ExitCode(1)
        }
    }
}

/// `gpuvmctl demo-client`: the client process of the demo.
struct DemoClientCommand: ParsableCommand {
    static let name = "demo-client"
    static let configuration = CommandConfiguration(commandName: name, shouldDisplay: false)

    @OptionGroup var options: GlobalOptions
    @OptionGroup var demo: DemoOptions

    func run() throws {
        let connection = try options.connect()
        let (report, error) = Self.report(connection, demo.scenario)
        if options.json {
            print(JSON.document(DemoJSON.members(report)).text)
        } else {
            print(
                DemoText.lines(report, style: .standardOutput).joined(separator: "\n"))
        }
        if let error { throw GlobalOptions.failure(error) }
        guard report.passed else { throw ExitCode(1) }
    }

    /// Runs the scenario; what was read before an error is in the report.
    static func report(
        _ connection: Connection, _ scenario: DemoScenario
    ) -> (DemoReport, ClientError?) {
        var report = DemoReport()
        do throws(ClientError) {
            var runner = try DemoRunner(connection, scenario)
            do throws(ClientError) {
                try runner.run()
                return (runner.report, nil)
            } catch {
                report = runner.report
                throw error
            }
        } catch {
            report.problems.append("\(error)")
            return (report, error)
        }
    }
}
