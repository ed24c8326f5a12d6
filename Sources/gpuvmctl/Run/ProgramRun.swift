import ArgumentParser
import CWireProtocol
import GPUVMClient
import GPUVMDaemon
import Glibc
import Logging
import SystemPackage
import WireProtocol

/// One run of a program: its daemon, its files, and what is said at the end.
///
/// Threading: the process's main thread.
struct ProgramRun {
    private let command: RunCommand
    private let signals: RunSignals
    private let inheritance: ProgramProcess.Inheritance

    init(command: RunCommand, signals: RunSignals) {
        self.command = command
        self.signals = signals
        inheritance = ProgramProcess.Inheritance(mask: signals.originalMask)
    }

    /// Does it all; returns if the program ended with status 0.
    ///
    /// - Throws: `ExitCode`, having said why on standard error.
    func run() throws {
        let exit = try serve()
        switch exit {
        case .status(0): return
        case .status(let status): throw ExitCode(status)
        case .signal(let number):
            RunSignals.die(of: number)
            throw ExitCode(128 + number)
        }
    }

    /// The part during which a daemon of this process may live; it and its directory are gone
    /// afterwards.
    private func serve() throws -> ChildProcess.Exit {
        do throws(WireError) {
            try signals.start()
        } catch {
            GlobalOptions.complain("\(error)")
            throw GlobalOptions.unavailable
        }
        let log = try output(command.log, appends: true)
        let summaryFile = try output(command.summaryJson)
        let trace = try makeTrace()
        let pictures = command.picture ? AddressSpacePictures() : nil
        let own = try makeDaemon(log, DRMObservers(trace: trace, pictures: pictures))
        defer { own?.stop() }
        let socket = own?.socketPath ?? command.daemon ?? ""
        let connection = try connect(to: socket)
        let before = try counters { () throws(ClientError) in try RunCounters(connection) }
        try checkModel(before)
        try inject(over: connection)
        let exit = try start(on: socket)
        let after = try counters { () throws(ClientError) in
            try RunCounters.settled(
                connection, since: before, patienceInMilliseconds: own == nil ? 200 : 2000)
        }
        let injections = try counters { () throws(ClientError) in
            command.inject.isEmpty ? nil : try RunInjections(connection)
        }
        connection.close()
        own?.stop()

        let summary = RunSummary(from: before, to: after, injections)
        let isTraced = finish(trace)
        if let pictures { show(pictures) }
        if !command.quiet { say(RunSummaryText.lines(summary)) }
        do throws(WireError) {
            let document = JSON.document(RunSummaryJSON.members(summary, exit: exit))
            try summaryFile?.write(document.text + "\n")
        } catch {
            GlobalOptions.complain("\(error)")
            throw ExitCode(1)
        }
        if let required = command.requireIoctls, summary.totals.ioctls < required {
            GlobalOptions.complain(
                "only \(summary.totals.ioctls) ioctls were served and \(required) are required")
            throw ExitCode(1)
        }
        guard isTraced || exit != .status(0) else { throw ExitCode(1) }
        return exit
    }

    // MARK: before

    private func output(_ path: String?, appends: Bool = false) throws -> RunOutput? {
        guard let path else { return nil }
        do throws(WireError) {
            return try RunOutput(path, appends: appends)
        } catch {
            GlobalOptions.complain("\(error)")
            throw RunCommand.cannotCreate
        }
    }

    private var model: GPUModel? { command.device.flatMap { GPUModel(rawValue: $0) } }

    private func makeTrace() throws -> DRMTrace? {
        guard let path = command.trace else { return nil }
        do throws(Errno) {
            return try DRMTrace(path: path, device: (model ?? .tu104).rawValue)
        } catch {
            let explanation = RunOutput.explanation(error, path)
            GlobalOptions.complain(
                "\(path): the trace cannot be written\(explanation): \(error)")
            throw RunCommand.cannotCreate
        }
    }

    private func makeDaemon(
        _ log: RunOutput?, _ observers: DRMObservers
    ) throws -> InProcessDaemon? {
        guard command.daemon == nil else { return nil }
        var configuration = DaemonConfiguration()
        configuration.log.level = .warning
        do {
            if let file = command.config {
                configuration = try ConfigurationLoader.load(file: file, environment: [:])
                    .configuration
            }
            if let model { configuration.device.model = model }
            if let level = command.logLevel.flatMap({ Logger.Level(rawValue: $0) }) {
                configuration.log.level = level
            }
            return try signals.making {
                try InProcessDaemon(
                    configuration, log: log?.descriptor ?? STDERR_FILENO, observers: observers,
                    willUse: signals.owns)
            }
        } catch {
            GlobalOptions.complain("\(error)")
            throw GlobalOptions.unavailable
        }
    }

    private func connect(to socket: String) throws -> Connection {
        do throws(ClientError) {
            return try Connection.connect(path: socket, name: "gpuvmctl run")
        } catch {
            GlobalOptions.complain("\(error)")
            throw GlobalOptions.unavailable
        }
    }

    /// Makes the rules of --inject, before the program can meet them.
    private func inject(over connection: Connection) throws {
        for (text, rule) in zip(command.inject, try command.rules()) {
            do throws(ClientError) {
                try connection.inject(rule)
            } catch {
                GlobalOptions.complain("--inject “\(text)”: \(error)")
                throw ExitCode.validationFailure
            }
        }
    }

    private func counters<Counters>(
        _ body: () throws(ClientError) -> Counters
    ) throws -> Counters {
        do throws(ClientError) {
            return try body()
        } catch {
            GlobalOptions.complain("\(error)")
            throw GlobalOptions.unavailable
        }
    }

    /// A daemon that runs already is what it is.
    private func checkModel(_ counters: RunCounters) throws {
        let actual = Names.text(counters.info.model)
        guard let model, model.rawValue != actual else { return }
        GlobalOptions.complain(
            "--device \(model.rawValue): the daemon at \(command.daemon ?? "") is a \(actual)")
        throw ExitCode.validationFailure
    }

    // MARK: the program

    private func start(on socket: String) throws -> ChildProcess.Exit {
        let environment: ShimEnvironment
        do throws(WireError) {
            environment = try ShimEnvironment(
                socket: socket, root: command.root, explains: command.debug)
        } catch {
            GlobalOptions.complain("\(error)")
            throw GlobalOptions.unavailable
        }
        do throws(WireError) {
            return try signals.wait { () throws(WireError) in
                try environment.launch(command.words, inherited: Self.environment, inheritance)
            }
        } catch {
            GlobalOptions.complain("\(error)")
            // As a shell says it.
            throw ExitCode(error.code == .noSuchFileOrDirectory ? 127 : 126)
        }
    }

    private static var environment: [String] {
        var list: [String] = []
        var entry = environ
        while let text = entry.pointee {
            list.append(String(cString: text))
            entry += 1
        }
        return list
    }

    // MARK: after

    /// - Returns: Whether the trace, if there is one, has everything.
    private func finish(_ trace: DRMTrace?) -> Bool {
        guard let result = trace?.finish(), let path = command.trace else { return true }
        if let error = result.error {
            let reason = error == .timedOut ? "nobody reads it any more" : "\(error)"
            GlobalOptions.complain(
                """
                \(path): the trace is not whole: \(reason); \(result.dropped) events are not in it, \
                \(result.written) are
                """)
            return false
        }
        if result.dropped != 0 {
            GlobalOptions.complain(
                """
                \(path): \(result.dropped) events came faster than they could be written and are \
                not in the trace, which says where
                """)
        }
        return true
    }

    private func show(_ pictures: AddressSpacePictures) {
        let style = TerminalStyle.standardError
        let width = TerminalStyle.width(of: STDERR_FILENO)
        for picture in pictures.pictures {
            let drawn = AddressSpaceReport.picture(
                picture.vm, picture.mappings, sparse: picture.sparse, width: width)
            say(AddressSpaceReport.lines(drawn, style: style))
        }
        if pictures.leftOut != 0 { say(["  and \(pictures.leftOut) VMs more"]) }
    }

    /// Writes lines to standard error; nobody is left to be told when it is closed.
    private func say(_ lines: [String]) {
        let text = Array((lines.joined(separator: "\n") + "\n").utf8)
        var rest = text[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
            guard count > 0 || errno == EINTR else { return }
            rest = rest.dropFirst(max(0, count))
        }
    }
}
