import Device
import Engines
import Fencing
import Glibc
import Memory
import Scheduling
import TestSupport
import Testing
import WireProtocol

/// What keeps what: everything that is let go of is gone, whatever else is still held.
@Suite("Leaks", .serialized)
struct LeakTests {
    /// Objects that must not outlive their holders.
    private struct Watched {
        weak var device: Device?
        weak var client: Client?
        weak var vm: DeviceVM?
        weak var queue: DeviceQueue?
        weak var buffer: BufferObject?
        weak var evicted: BufferObject?
        weak var residency: Residency?
        weak var memory: PhysicalMemoryMap?
        weak var moved: Fence?

        /// The names of what is still there.
        var alive: [String] {
            var list: [String] = []
            if device != nil { list.append("device") }
            if client != nil { list.append("client") }
            if vm != nil { list.append("VM") }
            if queue != nil { list.append("queue") }
            if buffer != nil { list.append("buffer") }
            if evicted != nil { list.append("evicted buffer") }
            if residency != nil { list.append("residency") }
            if memory != nil { list.append("memory") }
            if moved != nil { list.append("fence") }
            return list
        }

        /// Jobs let go right after their fences: waits for that, some seconds at most.
        func settled() -> [String] {
            let deadline = Runtime.deadline(after: 5_000_000_000)
            while !alive.isEmpty, Runtime.now() < deadline { sched_yield() }
            return alive
        }
    }

    /// A device that has done everything once: local, shared, evicted and restored buffers, binds that
    /// wait, jobs that are queued behind what never comes.
    private func useEverything(
        flags: DeviceVM.Flags, _ watched: inout Watched
    ) throws -> (fixture: DeviceFixture, fence: Fence) {
        let fixture = try DeviceFixture { $0.vramBytes = 1 << 20 }
        let client = fixture.device.makeClient(
            name: "leaky", process: 1, user: 0, isPrivileged: false)
        let (vm, object) = try client.createVM(
            name: "vm", start: 0, range: 1 << 40, flags: flags)
        let local = try client.createBuffer(
            name: "local", size: 256 << 10, placement: .vram, localTo: vm)
        let shared = try client.createBuffer(name: "shared", size: 256 << 10, placement: .vram)
        let batch = try client.createBuffer(name: "batch", size: 4096, placement: .system)
        let bound = try client.bind(
            vm: vm,
            operations: [
                BindOperation(.map, address: 0, range: 256 << 10, buffer: local.buffer),
                BindOperation(.map, address: 1 << 30, range: 256 << 10, buffer: shared.buffer),
                BindOperation(.map, address: 1 << 39, range: 4096, buffer: batch.buffer),
            ])
        try #require(bound.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        _ = try client.createBuffer(name: "pusher", size: 512 << 10, placement: .vram)
        let last = try client.createBuffer(name: "last", size: 256 << 10, placement: .vram)
        #expect(fixture.device.status().evictions > 0)
        var writer = CommandWriter()
        writer.fill(0, bytes: 4096, pattern: 1)
        writer.end()
        writer.dwords.withUnsafeBytes {
            batch.buffer.backing.host.copyMemory(from: $0.baseAddress!, byteCount: $0.count)
        }
        let queue = try client.createQueue(vm: vm, engineClass: .copy)
        let ran = try client.execute(
            queue: queue, batches: [CommandBatch(address: 1 << 39)], waits: [], signals: [])
        try #require(ran.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        #expect(ran.error == 0)
        // Queued behind a job that does not end before the client does.
        var waiter = CommandWriter()
        waiter.waitSemaphore(at: (1 << 39) + 3072, .greaterOrEqual, value: 1)
        waiter.end()
        waiter.dwords.withUnsafeBytes {
            (batch.buffer.backing.host + 2048).copyMemory(
                from: $0.baseAddress!, byteCount: $0.count)
        }
        let point = SyncPoint(handle: try client.createSyncobj(isSignalled: false).handle)
        _ = try client.execute(
            queue: try client.createQueue(
                vm: vm, engineClass: .copy, instance: 1, timeout: 60_000_000_000),
            batches: [CommandBatch(address: (1 << 39) + 2048)], waits: [], signals: [point])
        let fence = try client.execute(
            queue: queue, batches: [CommandBatch(address: 1 << 39)], waits: [point], signals: [])
        _ = try client.bind(
            vm: vm, operations: [BindOperation(.unmap, address: 0, range: 1 << 39)],
            waits: [point])
        watched = Watched(
            device: fixture.device, client: client, vm: object, queue: try client.queue(queue),
            buffer: shared.buffer, evicted: last.buffer, residency: fixture.device.residency,
            memory: fixture.device.memory, moved: ran)
        client.close()
        return (fixture, fence)
    }

    @Test(
        "After its end nothing of a client is left, and then nothing of the device",
        arguments: [[], .immediateMode, .weakReferences] as [DeviceVM.Flags])
    func everything(flags: DeviceVM.Flags) throws {
        var watched = Watched()
        var held: (fixture: DeviceFixture, fence: Fence)? = try useEverything(
            flags: flags, &watched)
        let fence = held?.fence
        var client = watched
        client.device = nil
        client.residency = nil
        client.memory = nil
        #expect(client.settled() == [])
        held = nil
        #expect(watched.settled() == [], "the fence alone keeps nothing")
        #expect(fence?.isSignalled == true && fence?.error == ECANCELED)
    }
}
