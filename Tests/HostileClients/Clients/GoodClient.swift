import CWireProtocol
import Fencing
import GPUVMClient
import Glibc
import TestSupport
import WireProtocol

/// A client that does what a driver does: it binds, waits for the fence, copies, and looks at the
/// bytes.
final class GoodClient {
    private static let commandAddress: UInt64 = 0x7000_0000
    private static let sourceAddress: UInt64 = 0x1_0000_0000
    private static let targetAddress: UInt64 = 0x2_0000_0000
    private static let windowAddress: UInt64 = 0x3_0000_0000
    private static let bytes = 64 << 10

    let connection: Connection
    let vm: VM
    let queue: Queue
    private let commands, source, target: BufferObject
    private let done: GPUVMClient.Syncobj
    private var lastPoint: UInt64 = 0
    private var isBound = false
    private var seed: UInt64

    init(_ socket: String, name: String = "good", seed: UInt64 = 7) throws {
        self.seed = seed
        connection = try Connection.connect(path: socket, name: name)
        vm = try connection.makeVM(range: 1 << 47, name: name)
        commands = try connection.makeBuffer(size: 1 << 16, name: "commands")
        source = try connection.makeBuffer(size: UInt64(Self.bytes), name: "source")
        target = try connection.makeBuffer(
            size: UInt64(Self.bytes), placement: .vram, name: "target")
        try vm.bind([
            .map(commands, at: Self.commandAddress, range: 1 << 16),
            .map(source, at: Self.sourceAddress, range: UInt64(Self.bytes)),
            .map(target, at: Self.targetAddress, range: UInt64(Self.bytes)),
        ])
        queue = try vm.makeQueue(.copy)
        done = try connection.makeSyncobj()
    }

    /// An absolute deadline that only a defect reaches.
    static func soon() -> UInt64 { Runtime.deadline(after: 20_000_000_000) }

    private func nextPoint() -> SyncPoint {
        lastPoint += 1
        return done.point(lastPoint)
    }

    /// Binds or unbinds a window asynchronously and waits for the fence; how long that took, ns.
    func bindAndWait() throws -> UInt64 {
        let range: UInt64 = 64 << 10
        let operation: BindOperation =
            isBound
            ? .unmap(at: Self.windowAddress, range: range)
            : .map(source, at: Self.windowAddress, range: range)
        let point = nextPoint()
        let begun = Runtime.now()
        try vm.bindAsync([operation], signals: [point])
        try connection.wait(for: [point], deadline: Self.soon())
        let taken = Runtime.now() - begun
        isBound.toggle()
        return taken
    }

    /// Has an engine copy new bytes, and compares them all; how long the job took, ns.
    func copyAndCompare() throws -> UInt64 {
        let from = try source.map()
        let to = try target.map()
        seed &+= 1
        var random = SplitMix64(seed: seed)
        for offset in stride(from: 0, to: Self.bytes, by: 8) {
            from.storeBytes(of: random.next(), toByteOffset: offset, as: UInt64.self)
        }
        var writer = CommandWriter()
        writer.copy(
            from: Self.sourceAddress, to: Self.targetAddress, bytes: UInt64(Self.bytes))
        writer.end()
        writer.dwords.withUnsafeBytes { bytes in
            try? commands.map().copyMemory(from: bytes)
        }
        let point = nextPoint()
        let begun = Runtime.now()
        let fence = try queue.exec(
            [Queue.Batch(address: Self.commandAddress, bytes: writer.byteCount)],
            signals: [point])
        try connection.wait(for: [point], deadline: Self.soon())
        let taken = Runtime.now() - begun
        let error = try connection.fenceInfo(fence).error
        guard error == 0 else {
            throw Failure("the good client's copy failed: \(Text.name(ofErrno: error))")
        }
        random = SplitMix64(seed: seed)
        for offset in stride(from: 0, to: Self.bytes, by: 8)
        where to.load(fromByteOffset: offset, as: UInt64.self) != random.next() {
            throw Failure("the good client's byte \(offset) is wrong")
        }
        return taken
    }

    /// What the daemon holds for all its clients, as text; this one's window is not bound then.
    func counts() throws -> String {
        if isBound { _ = try bindAndWait() }
        let status = try connection.status()
        return """
            clients \(status.clients), VMs \(status.vms), BOs \(status.bos), \
            queues \(status.queues), syncobjs \(status.syncobjs), mappings \(status.mappings), \
            VRAM \(status.vram_used), system \(status.system_used), \
            tables \(status.table_pages_used)+\(status.table_pages_reserved), \
            descriptors \(status.open_fds)
            """
    }

    /// Waits until the counts are `expected`, at most 20 s; the last ones seen.
    func settle(to expected: String) throws -> String {
        let deadline = Self.soon()
        var counts = try counts()
        while counts != expected, Runtime.now() < deadline {
            usleep(20_000)
            counts = try self.counts()
        }
        return counts
    }
}
