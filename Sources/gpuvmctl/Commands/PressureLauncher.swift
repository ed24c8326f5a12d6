import ArgumentParser
import GPUVMClient
import WireProtocol

/// Starts what `demo --pressure` needs: a daemon and the clients' processes.
struct PressureLauncher {
    let options: GlobalOptions
    let demo: DemoOptions
    let pressure: PressureOptions

    func run() throws {
        if let path = options.socket {
            try run(at: path, capacity: nil)
            return
        }
        let vram = pressure.vram?.value ?? PressureOptions.defaultVRAM
        let daemon: PrivateDaemon
        do throws(WireError) {
            daemon = try PrivateDaemon.start(configuration: "device:\n  vram: \(vram)\n")
        } catch {
            GlobalOptions.complain("\(error)")
            throw GlobalOptions.unavailable
        }
        defer { daemon.stop() }
        try run(at: daemon.socketPath, capacity: vram)
        guard daemon.stop() == .status(0) else {
            GlobalOptions.complain("the private daemon did not end cleanly")
            throw ExitCode(1)
        }
    }

    private func run(at path: String, capacity: UInt64?) throws {
        let connection: Connection
        do throws(ClientError) {
            connection = try Connection.connect(path: path, name: "gpuvmctl")
        } catch {
            GlobalOptions.complain("\(error)")
            throw GlobalOptions.unavailable
        }
        let report: PressureReport
        do throws(ClientError) {
            report = try lead(connection, path, capacity: capacity)
        } catch {
            throw GlobalOptions.failure(error)
        }
        if options.json {
            print(JSON.document(PressureJSON.members(report)).text)
        } else {
            print(
                PressureText.verdict(report, style: .standardOutput).joined(separator: "\n"))
        }
        guard report.passed else { throw ExitCode(1) }
    }

    private func lead(
        _ connection: Connection, _ path: String, capacity: UInt64?
    ) throws(ClientError) -> PressureReport {
        // What the CPU cannot see holds none of these buffers.
        let visible = try connection.memoryInfo().vram.visible_bytes
        guard visible <= PressureOptions.maxVRAM else {
            throw ClientError(
                .invalidArgument, nil,
                """
                the daemon has \(size(visible)) of VRAM: four times that in buffers, and again in \
                models, is too much; start one with at most \(size(PressureOptions.maxVRAM))
                """)
        }
        let scenario = pressure.scenario(demo, capacity: capacity ?? visible)
        let clients = try Clients(path, scenario)
        let display = options.json ? nil : PressureDisplay.standardOutput()
        var run = try PressureRun(connection, scenario, channels: clients.channels) {
            display?.show($0)
        }
        display?.begin(connection.server.name, scenario, before: run.report.before)
        run.run()
        if let last = run.report.samples.last { display?.end(last) }
        var report = run.report
        report.problems += clients.end()
        return report
    }

    /// The clients' processes.
    private final class Clients {
        private(set) var channels: [PressureChannel] = []
        private var processes: [ChildProcess] = []

        init(_ path: String, _ scenario: PressureScenario) throws(ClientError) {
            do throws(WireError) {
                guard let program = ChildProcess.ownPath() else {
                    throw WireError(
                        .noSuchFileOrDirectory, "the path of this program is unknown")
                }
                for number in 0..<PressureScenario.clients {
                    let (own, child) = try UnixSocket.pair()
                    channels.append(PressureChannel(own))
                    processes.append(
                        try ChildProcess(
                            program, PressureClientCommand.arguments(path, scenario, number),
                            fds: [(PressureClientCommand.channelFD, child.rawValue)]))
                }
            } catch {
                _ = end()
                throw ClientError(error.code, nil, error.text)
            }
        }

        /// Ends the processes; what was wrong with how they ended.
        func end() -> [String] {
            // The end of the channel is what a client waits for; one that hangs has to be told.
            for channel in channels { channel.end() }
            for process in processes { process.terminate() }
            defer { processes = [] }
            return processes.enumerated().compactMap { number, process in
                switch process.wait() {
                case .status(0), .status(1), .signal(PressureClientCommand.endSignal): nil
                case .status(let status): "client \(number + 1) ended with status \(status)"
                case .signal(let signal): "client \(number + 1) was ended by signal \(signal)"
                }
            }
        }
    }
}
