import Fencing
import GPUVMClient
import WireProtocol

extension Misbehaviour {
    private static let commandAddress: UInt64 = 0x7000_0000

    /// Copies from where nothing is mapped, each time on a queue of its own: a fault bans it.
    func fault(_ path: String) throws {
        let connection = try Connection.connect(path: path, name: rawValue)
        let vm = try connection.makeVM(range: 1 << 40)
        var writer = CommandWriter()
        writer.copy(from: 0x1000, to: 0x2000, bytes: 4096)
        writer.end()
        let batch = try load(writer, vm)
        let done = try connection.makeSyncobj()
        for point in 1...UInt64.max {
            let queue = try vm.makeQueue(.copy, instance: UInt16(point & 1))
            try queue.exec([batch], signals: [done.point(point)])
            try connection.wait(
                for: [done.point(point)], deadline: Runtime.deadline(after: 60_000_000_000))
            try queue.close()
        }
    }

    /// Jumps to where it is, with the longest time-out that a client may ask for.
    func endlessJobs(_ path: String) throws {
        let connection = try Connection.connect(path: path, name: rawValue)
        let vm = try connection.makeVM(range: 1 << 40)
        var writer = CommandWriter()
        writer.jump(to: Self.commandAddress)
        let batch = try load(writer, vm)
        let done = try connection.makeSyncobj()
        for point in 1...UInt64.max {
            let queue = try vm.makeQueue(
                .copy, instance: UInt16(point & 1), timeout: .max)
            for _ in 0..<64 { try queue.exec([batch]) }
            try queue.exec([], signals: [done.point(point)])
            try connection.wait(
                for: [done.point(point)], deadline: Runtime.deadline(after: 600_000_000_000))
            try queue.close()
        }
    }

    private func load(_ writer: CommandWriter, _ vm: VM) throws -> Queue.Batch {
        let commands = try vm.connection.makeBuffer(size: 4096, name: "commands")
        try vm.bind([.map(commands, at: Self.commandAddress, range: 4096)])
        let memory = try commands.map()
        writer.dwords.withUnsafeBytes { memory.copyMemory(from: $0) }
        return Queue.Batch(address: Self.commandAddress, bytes: 0)
    }
}
