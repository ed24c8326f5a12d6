import Device
import Engines
import Fencing
import Glibc
import Memory
import Scheduling
import Synchronization
import Testing
import WireProtocol

@Suite("EXEC")
struct ExecTests {
    private static let batch: UInt64 = 0x10_0000
    private static let source: UInt64 = 0x100_0000
    private static let target: UInt64 = 0x200_0000

    /// A VM with a batch buffer, a source and a target, each mapped whole.
    private struct Setup {
        let fixture: DeviceFixture
        let vm: UInt32
        let object: DeviceVM
        let batch: TestBuffer
        let source: TestBuffer
        let target: TestBuffer
        let queue: UInt32

        init(_ configure: (inout DeviceConfiguration) -> Void = { _ in }) throws {
            fixture = try DeviceFixture(configure: configure)
            (vm, object) = try fixture.makeVM()
            batch = try fixture.makeBuffer(1 << 16, .system, name: "batch")
            source = try fixture.makeBuffer(1 << 20, name: "source")
            target = try fixture.makeBuffer(1 << 20, .system, name: "target")
            queue = try fixture.client.createQueue(vm: vm, engineClass: .copy)
            try fixture.bind(
                vm,
                [
                    BindOperation(
                        .map, address: ExecTests.batch, range: 1 << 16, buffer: batch.object),
                    BindOperation(
                        .map, address: ExecTests.source, range: 1 << 20, buffer: source.object),
                    BindOperation(
                        .map, address: ExecTests.target, range: 1 << 20, buffer: target.object),
                ])
        }

        func run(_ build: (inout CommandWriter) -> Void) throws -> Int32 {
            var writer = CommandWriter()
            build(&writer)
            writer.end()
            return try fixture.execute(queue, batch, at: ExecTests.batch, writer)
        }
    }

    @Test("A copy moves every byte, wherever it begins and ends")
    func copy() throws {
        let setup = try Setup()
        setup.source.fill(seed: 5)
        let error = try setup.run {
            $0.copy(from: Self.source + 4093, to: Self.target + 11, bytes: 300_007)
        }
        #expect(error == 0)
        #expect(
            setup.target.bytes[11..<300_018].elementsEqual(setup.source.bytes[4093..<304_100]))
        #expect(setup.target.bytes[0..<11].allSatisfy { $0 == 0 })
        #expect(setup.target.bytes[300_018...].allSatisfy { $0 == 0 })
    }

    @Test("After an unmap that has executed, an engine with a warm TLB faults")
    func unmapInvalidates() throws {
        let setup = try Setup()
        let warm = try setup.run { $0.copy(from: Self.source, to: Self.target, bytes: 4096) }
        #expect(warm == 0)
        try setup.fixture.bind(
            setup.vm, [BindOperation(.unmap, address: Self.source, range: 4096)])
        let error = try setup.run { $0.copy(from: Self.source, to: Self.target, bytes: 4096) }
        #expect(error == EIO)
        let report = try #require(setup.fixture.device.faults.reports(after: 0, limit: 1).first)
        #expect(report.address == Self.source)
        #expect(report.failure?.fault?.reason == .notMapped(level: 0))
        #expect(report.failure?.fault?.access == .read)
        #expect(report.vm == setup.object.id)
        #expect(report.below?.address == Self.batch)
        #expect(report.above?.address == Self.source + 4096)
        #expect(report.lastOperation?.kind == .unmap)
        #expect(report.lastOperation?.range == 4096)
        // The queue is banned as hardware would; others go on.
        let refusal = #expect(throws: DeviceError.self) {
            try setup.fixture.client.execute(
                queue: setup.queue, batches: [], waits: [], signals: [])
        }
        #expect(refusal?.errno == ECANCELED)
        let other = try setup.fixture.client.createQueue(vm: setup.vm, engineClass: .copy)
        let fine = try setup.fixture.client.execute(
            queue: other, batches: [], waits: [], signals: [])
        #expect(fine.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        #expect(fine.error == 0)
    }

    @Test("A fault names the unmap of a whole buffer as the last operation there")
    func unmapAllIsRemembered() throws {
        let setup = try Setup()
        try setup.fixture.bind(
            setup.vm, [BindOperation(.unmapAll, buffer: setup.source.object)])
        #expect(try setup.run { $0.store(Self.source + 8, qword: 1) } == EIO)
        let report = try #require(setup.fixture.device.faults.reports(after: 0, limit: 1).first)
        #expect(report.lastOperation?.kind == .unmapAll)
        #expect(report.lastOperation?.address == Self.source)
        #expect(report.lastOperation?.range == 1 << 20)
    }

    @Test("An engine sees a remap only once it has executed")
    func executedStateOnly() throws {
        let setup = try Setup()
        let (other, _) = try setup.fixture.makeVM("other")
        let blocker = try SemaphoreBlocker(setup.fixture, vm: other)
        let replacement = try setup.fixture.makeBuffer(4096)
        setup.source.bytes[0] = 0x11
        replacement.bytes[0] = 0x22
        let bind = try setup.fixture.client.bind(
            vm: setup.vm,
            operations: [
                BindOperation(
                    .map, address: Self.source, range: 4096, buffer: replacement.object)
            ],
            waits: [blocker.point])
        // The other engine: the first one's queue waits for the semaphore without holding it up,
        // but an engine of its own makes the test independent of that.
        let before = try setup.run { $0.copy(from: Self.source, to: Self.target, bytes: 1) }
        #expect(before == 0)
        #expect(setup.target.bytes[0] == 0x11, "the bind is pending")
        blocker.release()
        #expect(bind.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        let after = try setup.run { $0.copy(from: Self.source, to: Self.target, bytes: 1) }
        #expect(after == 0)
        #expect(setup.target.bytes[0] == 0x22)
    }

    @Test("Frames of a closed buffer live until the pending unmap has executed")
    func pendingUnmapHoldsFrames() throws {
        let setup = try Setup()
        let (other, _) = try setup.fixture.makeVM("other")
        let blocker = try SemaphoreBlocker(setup.fixture, vm: other)
        setup.source.bytes[0] = 0x33
        let used = setup.fixture.device.memory.vram.usedBytes
        let unmap = try setup.fixture.client.bind(
            vm: setup.vm,
            operations: [BindOperation(.unmap, address: Self.source, range: 1 << 20)],
            waits: [blocker.point])
        try setup.fixture.client.closeBuffer(setup.source.handle)
        // This test holds a reference of its own through `setup`; what counts is the job's.
        let error = try setup.run { $0.copy(from: Self.source, to: Self.target, bytes: 1) }
        #expect(error == 0)
        #expect(setup.target.bytes[0] == 0x33)
        #expect(setup.fixture.device.memory.vram.usedBytes == used)
        blocker.release()
        #expect(unmap.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
    }

    @Test("A buffer that only page tables still lead to is no machine check")
    func unreferencedBuffer() throws {
        let setup = try Setup()
        let (other, _) = try setup.fixture.makeVM("other")
        let blocker = try SemaphoreBlocker(setup.fixture, vm: other)
        var handle: UInt32 = 0
        do {
            let made = try setup.fixture.makeBuffer(4096, name: "short-lived")
            made.bytes[0] = 0x44
            handle = made.handle
            try setup.fixture.bind(
                setup.vm,
                [BindOperation(.map, address: 0x300_0000, range: 4096, buffer: made.object)])
        }
        let unmap = try setup.fixture.client.bind(
            vm: setup.vm,
            operations: [BindOperation(.unmap, address: 0x300_0000, range: 4096)],
            waits: [blocker.point])
        try setup.fixture.client.closeBuffer(handle)
        let error = try setup.run { $0.copy(from: 0x300_0000, to: Self.target, bytes: 1) }
        #expect(error == 0, "\(setup.fixture.device.faults.reports(after: 0, limit: 1))")
        #expect(setup.target.bytes[0] == 0x44)
        let used = setup.fixture.device.memory.vram.usedBytes
        blocker.release()
        #expect(unmap.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        // The job lets go right after its fence.
        let deadline = Runtime.deadline(after: 5_000_000_000)
        while setup.fixture.device.memory.vram.usedBytes == used && Runtime.now() < deadline {
            sched_yield()
        }
        #expect(setup.fixture.device.memory.vram.usedBytes == used - 4096)
    }

    @Test("Null mappings read zero and drop writes; read-only ones refuse them")
    func nullAndReadOnly() throws {
        let setup = try Setup()
        setup.target.fill(seed: 9)
        try setup.fixture.bind(
            setup.vm,
            [
                BindOperation(.mapNull, address: 0x300_0000, range: 1 << 20),
                BindOperation(
                    .map, address: 0x400_0000, range: 4096, buffer: setup.source.object,
                    readOnly: true),
            ])
        let error = try setup.run {
            $0.fill(0x300_0000, bytes: 8192, pattern: 0xdead_beef)
            $0.copy(from: 0x300_0ffc, to: Self.target + 1, bytes: 100)
        }
        #expect(error == 0)
        #expect(setup.target.bytes[1..<101].allSatisfy { $0 == 0 })
        setup.source.bytes[7] = 0x55
        let refused = try setup.run { $0.store(0x400_0000, dword: 1) }
        #expect(refused == EIO)
        #expect(
            setup.fixture.device.faults.reports(after: 0, limit: 1).first?.failure?.fault?.reason
                == .readOnly)
        #expect(setup.source.bytes[0] == 0)
    }

    @Test("A job past its time-out bans its queue; other queues go on")
    func timeOut() throws {
        let fixture = try DeviceFixture()
        let (vm, object) = try fixture.makeVM()
        let stuck = try SemaphoreBlocker(fixture, vm: vm, timeout: 50_000_000)
        #expect(stuck.fence.wait(deadline: Runtime.deadline(after: 10_000_000_000)))
        #expect(stuck.fence.error == ETIME)
        let queue = try fixture.client.createQueue(vm: vm, engineClass: .copy)
        let next = try fixture.client.execute(queue: queue, batches: [], waits: [], signals: [])
        #expect(next.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        #expect(next.error == 0)
        let deadline = Runtime.deadline(after: 5_000_000_000)
        let seen = {
            fixture.events.all.contains {
                if case .jobTimedOut(_, object.id, _) = $0 { true } else { false }
            }
        }
        while !seen() && Runtime.now() < deadline { sched_yield() }
        #expect(seen())
    }

    @Test("After close() no engine reaches memory through the VM")
    func close() throws {
        let setup = try Setup()
        // An endless loop that writes, on both engines.
        var writer = CommandWriter()
        writer.store(Self.target, qword: 1)
        writer.copy(from: Self.target, to: Self.target + 8192, bytes: 8192)
        writer.jump(to: Self.batch)
        setup.batch.write(writer.dwords)
        var fences: [Fence] = []
        for instance in 0..<2 {
            let queue = try setup.fixture.client.createQueue(
                vm: setup.vm, engineClass: .copy, instance: instance, timeout: 60_000_000_000)
            fences.append(
                try setup.fixture.client.execute(
                    queue: queue, batches: [CommandBatch(address: Self.batch)], waits: [],
                    signals: []))
        }
        let word = setup.target.bytes.baseAddress!
            .assumingMemoryBound(to: Atomic<UInt64>.self)
        let deadline = Runtime.deadline(after: 5_000_000_000)
        while word.pointee.load(ordering: .acquiring) != 1 && Runtime.now() < deadline {
            sched_yield()
        }
        try setup.fixture.client.closeVM(setup.vm)
        setup.target.bytes.copyBytes(from: [UInt8](repeating: 0x77, count: 16384))
        for fence in fences {
            #expect(fence.isSignalled)
            #expect(fence.error == ECANCELED)
        }
        #expect(setup.target.bytes[0..<16384].allSatisfy { $0 == 0x77 })
        #expect(setup.fixture.device.tablePool.allocated == 0)
        #expect(setup.fixture.device.tablePool.reserved == 0)
        let error = #expect(throws: DeviceError.self) {
            try setup.fixture.client.bind(vm: setup.vm, operations: [])
        }
        #expect(error?.errno == ENOENT)
    }
}
