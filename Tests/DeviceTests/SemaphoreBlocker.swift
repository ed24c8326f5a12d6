import Device
import Engines
import Fencing
import Memory
import Synchronization
import Testing
import WireProtocol

/// A point that stays pending until the test releases it: the fence of a job that waits for a
/// semaphore in memory.
struct SemaphoreBlocker {
    let point: SyncPoint
    let fence: Fence
    private let memory: TestBuffer
    private let device: Device
    private static let semaphore: Int = 4096

    init(_ fixture: DeviceFixture, vm: UInt32, timeout: UInt64? = nil) throws {
        memory = try fixture.makeBuffer(8192, name: "blocker")
        device = fixture.device
        let base: UInt64 = 0x7000_0000
        try fixture.bind(
            vm, [BindOperation(.map, address: base, range: 8192, buffer: memory.object)])
        let queue = try fixture.client.createQueue(
            vm: vm, engineClass: .copy, instance: 0, timeout: timeout)
        var writer = CommandWriter()
        writer.waitSemaphore(at: base + UInt64(Self.semaphore), .greaterOrEqual, value: 1)
        writer.end()
        memory.write(writer.dwords)
        let handle = try fixture.client.createSyncobj(isSignalled: false).handle
        point = SyncPoint(handle: handle)
        fence = try fixture.client.execute(
            queue: queue, batches: [CommandBatch(address: base)], waits: [], signals: [point])
    }

    /// Writes the value that the job waits for, as a client's CPU would.
    func release() {
        let word = (memory.bytes.baseAddress! + Self.semaphore)
            .assumingMemoryBound(to: Atomic<UInt64>.self)
        word.pointee.store(1, ordering: .sequentiallyConsistent)
    }
}
