import CWireProtocol
import Fencing
import GPUVMClient
import SystemPackage
import WireProtocol

/// One client of `demo --pressure`: VMs with buffers in VRAM, jobs that fill and copy them, and a
/// model that knows what every byte has to be.
///
/// Threading: one thread.
final class PressureClient {
    /// What goes on in one VM.
    private final class Space {
        let name: String
        let vm: VM
        let queue: Queue
        let buffers: [BufferObject]
        let commands: BufferObject
        let addresses: [UInt64]
        let sizes: [UInt64]
        let model: PressureModel
        let timeline: GPUVMClient.Syncobj
        /// The last point that a job signals.
        var point: UInt64 = 0
        /// The job that has not been waited for.
        var pending: FenceID?

        init(
            _ connection: Connection, _ scenario: PressureScenario, client: Int, index: Int,
            noise: (buffer: BufferObject, bytes: [UInt8])
        ) throws(ClientError) {
            name = "vm-\(client + 1).\(index + 1)"
            sizes = scenario.bufferSizes(client: client, vm: index)
            addresses = scenario.addresses(sizes)
            vm = try connection.makeVM(range: 1 << 47, name: name)
            var buffers: [BufferObject] = []
            for (number, size) in sizes.enumerated() {
                buffers.append(
                    try connection.makeBuffer(
                        size: size, placement: .vram,
                        localTo: number < PressureScenario.localBuffers ? vm : nil,
                        name: "\(name)-\(number)"))
            }
            self.buffers = buffers
            commands = try connection.makeBuffer(
                size: scenario.commandBytes, name: "\(name)-commands")
            let all = buffers + [noise.buffer, commands]
            try vm.bind(
                zip(all, addresses).map { .map($0, at: $1, range: $0.size) })
            queue = try vm.makeQueue(
                .copy, instance: UInt16(index % Int(max(1, connection.server.copyEngines))))
            timeline = try connection.makeSyncobj()
            model = PressureModel(sizes: sizes, noise: noise.bytes)
        }
    }

    /// How long any one wait may take, ns.
    private static let patience: UInt64 = 20_000_000_000
    /// Jobs of one client under way at a time.
    private static let depth = 2

    private let connection: Connection
    private let scenario: PressureScenario
    private let number: Int
    private let channel: PressureChannel
    private var spaces: [Space] = []
    /// Those with a job under way, oldest first.
    private var underWay: [Space] = []
    private var random: SeededRandom
    private var jobs: UInt64 = 0

    /// - Parameter number: 0 to ``PressureScenario/clients`` - 1.
    init(
        _ connection: Connection, _ scenario: PressureScenario, number: Int,
        channel: PressureChannel
    ) {
        self.connection = connection
        self.scenario = scenario
        self.number = number
        self.channel = channel
        random = SeededRandom(seed: scenario.seed &+ UInt64(number) << 8)
    }

    /// Does everything; the demo hears of all that goes wrong.
    ///
    /// - Returns: Whether nothing did.
    func run() -> Bool {
        do throws(ClientError) {
            try tell(.connected(client: connection.server.clientID))
            try setUp()
            guard try hear(.go) else { return false }
            try work()
            try tell(.finished)
            guard try hear(.verify) else { return false }
            return try verify()
        } catch {
            // Nobody listens if the channel itself has failed.
            try? channel.send(.problem(errno: error.code.rawValue, "\(error)"))
            return false
        }
    }

    /// Lets go of everything once the demo has looked at it.
    func waitForEnd() {
        while (try? channel.receive()) != nil {}
    }

    private func tell(_ message: PressureMessage) throws(ClientError) {
        do throws(WireError) {
            try channel.send(message)
        } catch {
            throw ClientError(error.code, nil, error.text)
        }
    }

    /// False if the demo has ended.
    private func hear(_ expected: PressureMessage) throws(ClientError) -> Bool {
        do throws(WireError) {
            return try channel.receive() == expected
        } catch {
            throw ClientError(error.code, nil, error.text)
        }
    }

    // MARK: The work

    private func setUp() throws(ClientError) {
        let bytes = PressureModel.noise(
            seed: scenario.seed &+ UInt64(number), bytes: PressureScenario.noiseBytes)
        let noise = try connection.makeBuffer(
            size: PressureScenario.noiseBytes, name: "noise-\(number + 1)")
        try noise.map().copyBytes(from: bytes)
        for index in 0..<scenario.vmsPerClient {
            spaces.append(
                try Space(
                    connection, scenario, client: number, index: index, noise: (noise, bytes)))
        }
        let buffers = spaces.reduce(0) { $0 + $1.buffers.count }
        let total = spaces.flatMap(\.buffers).reduce(0) { $0 + $1.size }
        try tell(.ready(vms: spaces.count, buffers: buffers, bytes: total))
    }

    private func work() throws(ClientError) {
        let deadline = Runtime.deadline(after: scenario.duration)
        var round = 0
        while round < max(scenario.maxRounds, PressureScenario.minRounds),
            round < PressureScenario.minRounds || Runtime.now() < deadline
        {
            for index in spaces.indices.shuffled(using: &random) {
                let space = spaces[index]
                if space.pending != nil { try finish(space) }
                while underWay.count >= Self.depth { try finish(underWay[0]) }
                try submit(space, index, round)
            }
            round += 1
            try tell(.progress(rounds: round, jobs: jobs))
        }
        while let oldest = underWay.first { try finish(oldest) }
        try tell(.progress(rounds: round, jobs: jobs))
    }

    private func submit(_ space: Space, _ index: Int, _ round: Int) throws(ClientError) {
        let operations = scenario.operations(
            client: number, vm: index, round: round, sizes: space.sizes)
        let noise = space.addresses[space.sizes.count]
        var commands = CommandWriter()
        for operation in operations {
            switch operation {
            case .fill(let buffer, let offset, let bytes, let pattern):
                commands.fill(
                    space.addresses[buffer] + offset, bytes: bytes, pattern: pattern)
            case .copy(let source, let fromOffset, let destination, let toOffset, let bytes):
                commands.copy(
                    from: space.addresses[source] + fromOffset,
                    to: space.addresses[destination] + toOffset, bytes: bytes)
            case .noise(let fromOffset, let destination, let toOffset, let bytes):
                commands.copy(
                    from: noise + fromOffset, to: space.addresses[destination] + toOffset,
                    bytes: bytes)
            case .store(let buffer, let offset, let value):
                commands.store(space.addresses[buffer] + offset, qword: value)
            }
        }
        commands.end()
        let memory = try space.commands.map()
        guard commands.byteCount <= UInt64(memory.count) else {
            throw ClientError(
                .argListTooLong, .exec, "a job of \(operations.count) operations is too long")
        }
        commands.dwords.withUnsafeBytes { memory.copyMemory(from: $0) }
        space.point += 1
        space.pending = try space.queue.exec(
            [.init(address: space.addresses[space.sizes.count + 1], bytes: commands.byteCount)],
            signals: [space.timeline.point(space.point)])
        underWay.append(space)
        jobs += 1
        // The job runs meanwhile.
        for operation in operations { space.model.apply(operation) }
    }

    /// Waits for a VM's job and compares one of its buffers.
    private func finish(_ space: Space) throws(ClientError) {
        guard let fence = space.pending else { return }
        try connection.wait(
            for: [space.timeline.point(space.point)], flags: .all,
            deadline: Runtime.deadline(after: Self.patience))
        space.pending = nil
        underWay.removeAll { $0 === space }
        let info = try connection.fenceInfo(fence)
        guard info.error == 0 else {
            throw ClientError(
                Errno(rawValue: info.error), .exec, "a job in \(space.name) failed")
        }
        let buffer = Int(random.below(UInt64(space.buffers.count)))
        _ = try compare(space, buffer)
    }

    // MARK: The check

    private func verify() throws(ClientError) -> Bool {
        var isRight = true
        var bytes: UInt64 = 0
        for space in spaces {
            for index in space.buffers.indices {
                if try !compare(space, index) { isRight = false }
                bytes += space.sizes[index]
            }
        }
        try tell(.verified(bytes: bytes))
        return isRight
    }

    private func compare(_ space: Space, _ index: Int) throws(ClientError) -> Bool {
        let found = try space.buffers[index].map()
        guard let difference = space.model.difference(of: index, in: found) else { return true }
        try tell(.mismatch(buffer: "\(space.name)-\(index)", difference))
        return false
    }
}
