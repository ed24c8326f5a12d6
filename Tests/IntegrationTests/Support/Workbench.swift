import CWireProtocol
import Fencing
import GPUVMClient
import Glibc
import TestSupport
import Testing
import WireProtocol

/// A client with a VM, a copy queue and a buffer for command streams.
final class Workbench: Sendable {
    static let commandAddress: UInt64 = 0x7000_0000
    static let semaphoreAddress: UInt64 = 0x7100_0000

    let connection: Connection
    let vm: VM
    let queue: Queue
    let commands: BufferObject
    /// A page of qwords that jobs wait for and the test releases by the CPU.
    let semaphores: BufferObject
    let done: GPUVMClient.Syncobj
    private let streams = Guarded(.leaf, 0)
    private let points = Guarded<UInt64>(.leaf, 0)

    init(_ connection: Connection, name: String = "bench", timeout: UInt64 = 0) throws {
        self.connection = connection
        vm = try connection.makeVM(range: 1 << 47, name: name)
        commands = try connection.makeBuffer(size: 1 << 20, name: "commands")
        semaphores = try connection.makeBuffer(size: 4096, name: "semaphores")
        try vm.bind([
            .map(commands, at: Self.commandAddress, range: 1 << 20),
            .map(semaphores, at: Self.semaphoreAddress, range: 4096),
        ])
        queue = try vm.makeQueue(.copy, timeout: timeout)
        done = try connection.makeSyncobj()
    }

    /// The device-wide id of the VM.
    var id: UInt32 {
        get throws {
            let found = try connection.vms().first {
                $0.client_id == connection.server.clientID && $0.handle == vm.handle
            }
            return try #require(found).id
        }
    }

    /// Writes a stream that ends into the command buffer and names it.
    func batch(_ write: (inout CommandWriter) -> Void) throws -> Queue.Batch {
        var writer = CommandWriter()
        write(&writer)
        writer.end()
        let bytes = Int(writer.byteCount)
        let memory = try commands.map()
        let offset = streams.withLock { next in
            if next + bytes > memory.count { next = 0 }
            defer { next += (bytes + 63) / 64 * 64 }
            return next
        }
        writer.dwords.withUnsafeBytes { source in
            UnsafeMutableRawBufferPointer(rebasing: memory[offset..<(offset + bytes)])
                .copyMemory(from: source)
        }
        return Queue.Batch(
            address: Self.commandAddress + UInt64(offset), bytes: UInt64(bytes))
    }

    /// A point of ``done`` that nobody has used.
    func nextPoint() -> SyncPoint {
        done.point(
            points.withLock { last in
                last += 1
                return last
            })
    }

    /// Executes a stream and waits for its end; the job's errno, 0 if it succeeded.
    @discardableResult
    func run(on queue: Queue? = nil, _ write: (inout CommandWriter) -> Void) throws -> Int32 {
        let point = nextPoint()
        let fence = try (queue ?? self.queue).exec([try batch(write)], signals: [point])
        try connection.wait(for: [point], flags: .all, deadline: soon())
        return try connection.fenceInfo(fence).error
    }

    /// A job that waits until ``release(_:)``; its fence is `signals`'.
    @discardableResult
    func block(
        on semaphore: Int, queue: Queue? = nil, signals: [SyncPoint] = []
    ) throws -> FenceID {
        let address = Self.semaphoreAddress + UInt64(8 * semaphore)
        let batch = try batch { $0.waitSemaphore(at: address, .equal, value: 1) }
        return try (queue ?? self.queue).exec([batch], signals: signals)
    }

    /// Releases a semaphore by a job of `queue`, which nobody blocks.
    func release(_ semaphore: Int, queue: Queue) throws {
        let address = Self.semaphoreAddress + UInt64(8 * semaphore)
        try run(on: queue) { $0.releaseSemaphore(at: address, value: 1) }
    }
}

/// Fills a buffer with bytes that its seed determines.
func fill(_ memory: UnsafeMutableRawBufferPointer, seed: UInt64) {
    var random = SplitMix64(seed: seed)
    for index in stride(from: 0, to: memory.count, by: 8) {
        memory.storeBytes(of: random.next(), toByteOffset: index, as: UInt64.self)
    }
}

/// Whether `memory` has the bytes that ``fill(_:seed:)`` wrote.
func isFilled(_ memory: UnsafeMutableRawBufferPointer, seed: UInt64) -> Bool {
    var random = SplitMix64(seed: seed)
    for index in stride(from: 0, to: memory.count, by: 8)
    where memory.load(fromByteOffset: index, as: UInt64.self) != random.next() {
        return false
    }
    return true
}
