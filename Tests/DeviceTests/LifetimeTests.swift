import Device
import Engines
import Fencing
import Glibc
import Memory
import Synchronization
import TestSupport
import Testing
import WireProtocol

@Suite("Lifetimes and concurrency")
struct LifetimeTests {
    @Test("A client that goes with live mappings, queued jobs and pending binds leaves nothing")
    func clientGoes() throws {
        let fixture = try DeviceFixture(tables: 64 << 20)
        let client = fixture.device.makeClient(
            name: "victim", process: 2, user: 0, isPrivileged: true)
        weak var weakBuffer: BufferObject?
        weak var weakVM: DeviceVM?
        do {
            let (vm, object) = try client.createVM(name: "vm", start: 0, range: 1 << 47)
            weakVM = object
            let made = try client.createBuffer(name: "b", size: 1 << 20, placement: .vram)
            weakBuffer = made.buffer
            var operations: [BindOperation] = []
            for index in 0..<100_000 as Range<UInt64> {
                operations.append(
                    BindOperation(
                        .map, address: index << 13, range: 4096, buffer: made.buffer,
                        offset: (index & 255) << 12))
            }
            let mapped = SyncPoint(handle: try client.createSyncobj(isSignalled: false).handle)
            _ = try client.bind(vm: vm, operations: operations, signals: [mapped])
            let gate = try client.createSyncobj(isSignalled: false).handle
            let queue = try client.createQueue(
                vm: vm, engineClass: .copy, timeout: 60_000_000_000)
            let bytes = UnsafeMutableRawBufferPointer(
                start: made.buffer.backing.host, count: 1 << 20)
            var writer = CommandWriter()
            writer.waitSemaphore(at: 8, .equal, value: 99)
            writer.end()
            writer.dwords.withUnsafeBytes {
                bytes.baseAddress!.advanced(by: 4096).copyMemory(
                    from: $0.baseAddress!, byteCount: $0.count)
            }
            _ = try client.execute(
                queue: queue, batches: [CommandBatch(address: 1 << 13)], waits: [mapped],
                signals: [SyncPoint(handle: gate)])
            for _ in 0..<100 {
                _ = try client.bind(
                    vm: vm,
                    operations: [BindOperation(.unmap, address: 0, range: 1 << 20)],
                    waits: [SyncPoint(handle: gate)])
                _ = try client.execute(
                    queue: queue, batches: [], waits: [SyncPoint(handle: gate)], signals: [])
            }
        }
        let start = Runtime.now()
        client.close()
        #expect(Runtime.now() - start < 10_000_000_000, "bounded")
        #expect(weakBuffer == nil)
        #expect(weakVM == nil)
        let status = fixture.device.status()
        #expect(status.clients == 1, "the fixture's own")
        #expect(status.vramUsed == 0)
        #expect(status.tablePagesUsed == 0)
        #expect(status.tablePagesReserved == 0)
    }

    @Test("A VM inside one function")
    func shortVM() throws {
        let fixture = try DeviceFixture()
        weak var weakVM: DeviceVM?
        do {
            let (handle, vm) = try fixture.makeVM()
            weakVM = vm
            let buffer = try fixture.makeBuffer(4096)
            try fixture.bind(
                handle, [BindOperation(.map, address: 0, range: 4096, buffer: buffer.object)])
            try fixture.client.closeVM(handle)
            try fixture.client.closeBuffer(buffer.handle)
        }
        // The bind job lets go right after its fence.
        let deadline = Runtime.deadline(after: 5_000_000_000)
        while weakVM != nil && Runtime.now() < deadline { sched_yield() }
        #expect(weakVM == nil)
        #expect(fixture.device.memory.vram.usedBytes == 0)
    }

    @Test("An imported descriptor of a live buffer is that buffer; a foreign memfd is a new one")
    func importing() throws {
        let fixture = try DeviceFixture()
        let buffer = try fixture.makeBuffer(8192)
        let other = fixture.device.makeClient(
            name: "other", process: 3, user: 0, isPrivileged: false)
        let descriptor = buffer.object.backing.descriptor
        let first = try other.importBuffer(name: "x", descriptor: dup(descriptor), size: 8192)
        #expect(first.buffer === buffer.object)
        let again = try other.importBuffer(name: "x", descriptor: dup(descriptor), size: 4096)
        #expect(again.handle == first.handle)
        #expect(buffer.object.hardReferenceCount == 2)
        try other.closeBuffer(first.handle)
        #expect(buffer.object.hardReferenceCount == 1)
        let null = open("/dev/null", O_RDWR)
        let refusal = #expect(throws: DeviceError.self) {
            try other.importBuffer(name: "null", descriptor: null, size: 4096)
        }
        #expect(refusal?.errno == EINVAL)
    }

    @Test(
        "Threads that bind, execute, close and look at each other do not race",
        .timeLimit(.minutes(2)))
    func threads() throws {
        let fixture = try DeviceFixture()
        let device = fixture.device
        let failures = Guarded(.leaf, [String]())
        let threads = (0..<4).compactMap { number in
            RuntimeThread.start(name: "client\(number)") {
                do {
                    try Self.work(device, seed: UInt64(number))
                } catch {
                    failures.withLock { $0.append("\(error)") }
                }
            }
        }
        #expect(threads.count == 4)
        for _ in 0..<50 {
            _ = device.status()
            for client in device.clients {
                for vm in client.allVMs { _ = vm.vm.report() }
            }
        }
        for thread in threads { thread.join() }
        #expect(failures.withLock { $0 } == [])
        #expect(device.status().clients == 1)
        #expect(device.memory.vram.usedBytes == 0)
        #expect(device.tablePool.allocated == 0)
    }

    /// One client's life, a few times over: everything it copies arrives.
    private static func work(_ device: Device, seed: UInt64) throws {
        struct Mismatch: Error { var what = "" }
        var random = SplitMix64(seed: seed)
        for _ in 0..<6 {
            let client = device.makeClient(
                name: "c\(seed)", process: 9, user: 0, isPrivileged: false)
            defer { client.close() }
            let (vm, _) = try client.createVM(name: "vm", start: 0, range: 1 << 40)
            let made = try client.createBuffer(name: "b", size: 1 << 18, placement: .vram)
            let bytes = UnsafeMutableRawBufferPointer(
                start: made.buffer.backing.host, count: 1 << 18)
            let queue = try client.createQueue(
                vm: vm, engineClass: .copy, instance: Int(seed % 2))
            for round in 0..<10 {
                let base = UInt64.random(in: 1..<64, using: &random) << 20
                let bind = try client.bind(
                    vm: vm,
                    operations: [
                        BindOperation(.unmap, address: 0, range: 1 << 40),
                        BindOperation(
                            .map, address: base, range: 1 << 18, buffer: made.buffer),
                    ])
                guard bind.fence.wait(deadline: Runtime.deadline(after: 20_000_000_000)) else {
                    throw Mismatch(what: "the bind's fence has not signalled")
                }
                let pattern = UInt32(truncatingIfNeeded: random.next())
                var writer = CommandWriter()
                writer.fill(base + 8192, bytes: 65_536, pattern: pattern)
                writer.copy(from: base + 8192, to: base + 131_072, bytes: 65_536)
                writer.end()
                writer.dwords.withUnsafeBytes { bytes.copyMemory(from: $0) }
                let fence = try client.execute(
                    queue: queue, batches: [CommandBatch(address: base)], waits: [], signals: [])
                guard fence.wait(deadline: Runtime.deadline(after: 20_000_000_000)),
                    fence.error == 0,
                    bytes.loadUnaligned(fromByteOffset: 131_072 + 4 * round, as: UInt32.self)
                        == pattern
                else { throw Mismatch(what: "seed \(seed), round \(round), errno \(fence.error)") }
            }
        }
    }
}
