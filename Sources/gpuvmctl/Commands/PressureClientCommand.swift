import ArgumentParser
import GPUVMClient
import Glibc
import WireProtocol

/// `gpuvmctl demo-pressure-client`: a client process of `demo --pressure`.
struct PressureClientCommand: ParsableCommand {
    static let name = "demo-pressure-client"
    static let configuration = CommandConfiguration(commandName: name, shouldDisplay: false)

    /// Where the channel to the demo is.
    static let channelFD: Int32 = 3
    /// How the demo ends a client that it does not need any more.
    static let endSignal = SIGTERM

    @Option var socket: String
    @Option var seed: UInt64
    @Option var baseAddress: Address
    @Option var capacity: UInt64
    @Option var workingSet: UInt64
    @Option var duration: UInt64
    @Option var rounds: Int
    @Option var client: Int

    static func arguments(
        _ path: String, _ scenario: PressureScenario, _ client: Int
    ) -> [String] {
        [
            name, "--socket", path, "--seed", "\(scenario.seed)", "--base-address",
            hex(scenario.base), "--capacity", "\(scenario.capacity)", "--working-set",
            "\(scenario.workingSet)", "--duration", "\(scenario.duration)", "--rounds",
            "\(scenario.maxRounds)", "--client", "\(client)",
        ]
    }

    func validate() throws {
        guard fcntl(Self.channelFD, F_GETFD) >= 0 else {
            throw ValidationError("this command is the demo's own: use `gpuvmctl demo --pressure`")
        }
    }

    func run() throws {
        var scenario = PressureScenario(capacity: capacity)
        scenario.seed = seed
        scenario.base = baseAddress.value
        scenario.workingSet = workingSet
        scenario.duration = duration
        scenario.maxRounds = rounds
        let channel = PressureChannel(UnixSocket(adopting: OwnedFD(Self.channelFD)))
        let connection: Connection
        do throws(ClientError) {
            connection = try Connection.connect(path: socket, name: "pressure-\(client + 1)")
        } catch {
            try? channel.send(.problem(errno: error.code.rawValue, "\(error)"))
            throw GlobalOptions.failure(error)
        }
        let worker = PressureClient(connection, scenario, number: client, channel: channel)
        let isRight = worker.run()
        // Its buffers are still shown.
        worker.waitForEnd()
        guard isRight else { throw ExitCode(1) }
    }
}
