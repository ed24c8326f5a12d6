import ArgumentParser
import GPUVMClient
import Glibc

/// The options of every command that talks to the daemon.
struct GlobalOptions: ParsableArguments {
    @Option(name: .long, help: "The path of the daemon's socket.")
    var socket: String?

    @Flag(name: .long, help: "Print JSON; every document has a schema_version.")
    var json = false

    /// EX_UNAVAILABLE of sysexits.h: no daemon can be reached.
    static let unavailable = ExitCode(69)

    /// Connects, runs `body` and prints what it returns.
    func run(_ body: (Connection) throws(ClientError) -> Report) throws {
        let connection = try connect()
        let report: Report
        do throws(ClientError) {
            report = try body(connection)
        } catch {
            throw Self.failure(error)
        }
        print(json ? JSON.document(report.json).text : report.lines.joined(separator: "\n"))
    }

    /// Connects to the daemon; says which paths were tried if there is none.
    func connect() throws -> Connection {
        do throws(ClientError) {
            return try Connection.connect(path: socket, name: "gpuvmctl")
        } catch {
            Self.complain("\(error)")
            throw Self.unavailable
        }
    }

    /// Prints the error and gives the exit status for it.
    static func failure(_ error: ClientError) -> ExitCode {
        complain("\(error)")
        switch error.code {
        case .connectionReset, .socketNotConnected: return unavailable
        default: return ExitCode(1)
        }
    }

    static func complain(_ text: String) {
        let line = Array("gpuvmctl: \(text.printable)\n".utf8)
        // Nobody is left to be told when standard error is closed.
        _ = write(STDERR_FILENO, line, line.count)
    }
}

/// What a command prints: for people, and for programs.
struct Report {
    var lines: [String] = []
    var json: [(String, JSON)] = []
}
