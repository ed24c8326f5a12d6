import CPlatform
import Device
import Engines
import Fencing
import Glibc
import Memory
import TestSupport
import Testing
import WireProtocol

/// A small device with one client, closed at the end of the test.
final class DeviceFixture: @unchecked Sendable {
    let device: Device
    let client: Client

    init(
        tables: UInt64 = 4 << 20, configure: (inout DeviceConfiguration) -> Void = { _ in }
    ) throws {
        var configuration = DeviceConfiguration()
        configuration.vramBytes = 64 << 20
        configuration.systemBytes = 64 << 20
        configuration.pageTableBytes = tables
        configuration.tlbEntries = 1 << 16
        configuration.jobTimeout = 2_000_000_000
        configure(&configuration)
        let box = EventBox()
        device = try Device(configuration) { box.append($0) }
        client = device.makeClient(name: "test", process: 1, user: 0, isPrivileged: true)
        events = box
    }

    let events: EventBox

    deinit {
        client.close()
        for client in device.clients { client.close() }
        device.shutdown(deadline: Runtime.deadline(after: 1_000_000_000))
    }

    func makeVM(_ name: String = "vm") throws -> (handle: UInt32, vm: DeviceVM) {
        try client.createVM(name: name, start: 0, range: 1 << 47)
    }

    /// A buffer, and its bytes as a client would map them.
    func makeBuffer(
        _ size: UInt64, _ placement: Placement = .vram, name: String = "buffer"
    ) throws -> TestBuffer {
        let made = try client.createBuffer(name: name, size: size, placement: placement)
        return TestBuffer(handle: made.handle, object: made.buffer)
    }

    /// Binds and waits until the page tables show it.
    func bind(_ vm: UInt32, _ operations: [BindOperation]) throws {
        let result = try client.bind(vm: vm, operations: operations)
        try #require(result.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        #expect(result.fence.error == 0)
    }

    /// Jobs let go of buffers right after their fences: waits for that, some seconds at most.
    func expectNoMemoryInUse(location: SourceLocation = #_sourceLocation) {
        let deadline = Runtime.deadline(after: 5_000_000_000)
        var status = device.status()
        while status.vramUsed + status.systemUsed != 0, Runtime.now() < deadline {
            sched_yield()
            status = device.status()
        }
        #expect(status.vramUsed == 0 && status.systemUsed == 0, sourceLocation: location)
        #expect(status.residentBuffers == 0 && status.evictedBuffers == 0, sourceLocation: location)
    }

    /// Runs commands, which lie in `batch` mapped at `address`, and returns the fence's errno.
    func execute(
        _ queue: UInt32, _ batch: TestBuffer, at address: UInt64, _ writer: CommandWriter
    ) throws -> Int32 {
        batch.write(writer.dwords)
        let fence = try client.execute(
            queue: queue, batches: [CommandBatch(address: address)], waits: [], signals: [])
        try #require(fence.wait(deadline: Runtime.deadline(after: 10_000_000_000)))
        return fence.error
    }
}

/// What happened in a device, for tests to look at.
final class EventBox: Sendable {
    private let list = Guarded(.leaf, [DeviceEvent]())
    func append(_ event: DeviceEvent) { list.withLock { $0.append(event) } }
    var all: [DeviceEvent] { list.withLock { $0 } }
}

/// A buffer's handle, object and memory.
struct TestBuffer {
    let handle: UInt32
    let object: BufferObject

    var bytes: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(
            start: object.backing.host, count: Int(object.size))
    }

    func write(_ dwords: [UInt32]) {
        dwords.withUnsafeBytes { bytes.copyMemory(from: $0) }
    }

    func fill(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        for index in 0..<bytes.count { bytes[index] = UInt8(truncatingIfNeeded: random.next()) }
    }
}
