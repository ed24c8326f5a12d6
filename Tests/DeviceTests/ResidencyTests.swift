import Device
import Engines
import Fencing
import Glibc
import Memory
import TestSupport
import Testing
import WireProtocol

/// Who leaves VRAM, who comes back, and what the VMs that map it see.
@Suite("Residency")
struct ResidencyTests {
    private static let kib: UInt64 = 1 << 10

    /// 1 MiB of VRAM, unless said otherwise.
    private static func makeFixture(
        _ configure: (inout DeviceConfiguration) -> Void = { _ in }
    ) throws -> DeviceFixture {
        try DeviceFixture {
            $0.vramBytes = 1 << 20
            configure(&$0)
        }
    }

    /// A VM that maps one VRAM buffer at 0 and its commands, in system memory, at 2^40.
    private struct Space {
        var vm: UInt32
        var object: DeviceVM
        var queue: UInt32
        var buffer: TestBuffer
        var batch: TestBuffer
        /// The bind, which jobs wait for.
        var bound: SyncPoint

        /// - Parameter waits: Whether to wait until the page tables show it: as long as others may
        ///   still use the buffer's frames, they do not.
        init(_ fixture: DeviceFixture, bytes: UInt64, waits: Bool = true) throws {
            (vm, object) = try fixture.makeVM()
            buffer = try fixture.makeBuffer(bytes)
            batch = try fixture.makeBuffer(4096, .system)
            queue = try fixture.client.createQueue(vm: vm, engineClass: .copy, instance: 1)
            let operations = [
                BindOperation(.map, address: 0, range: bytes, buffer: buffer.object),
                BindOperation(.map, address: 1 << 40, range: 4096, buffer: batch.object),
            ]
            bound = SyncPoint(handle: try fixture.client.createSyncobj(isSignalled: false).handle)
            let fence = try fixture.client.bind(
                vm: vm, operations: operations, signals: [bound]
            ).fence
            if waits { try #require(fence.wait(deadline: Runtime.deadline(after: 5_000_000_000))) }
        }

        func fill(_ fixture: DeviceFixture, _ pattern: UInt32) throws {
            let fence = try submitFill(fixture, pattern)
            try #require(fence.wait(deadline: Runtime.deadline(after: 10_000_000_000)))
            #expect(fence.error == 0)
        }

        func submitFill(_ fixture: DeviceFixture, _ pattern: UInt32) throws -> Fence {
            var writer = CommandWriter()
            writer.fill(0, bytes: buffer.object.size, pattern: pattern)
            writer.end()
            batch.write(writer.dwords)
            return try fixture.client.execute(
                queue: queue, batches: [CommandBatch(address: 1 << 40)], waits: [bound],
                signals: [])
        }

        func holds(_ pattern: UInt32) -> Bool {
            buffer.bytes.bindMemory(to: UInt32.self).allSatisfy { $0 == pattern }
        }
    }

    @Test("A working set beyond VRAM is ENOSPC, and the VM is as before")
    func workingSetTooLarge() throws {
        let fixture = try Self.makeFixture()
        let space = try Space(fixture, bytes: 768 * Self.kib)
        let second = try fixture.makeBuffer(512 * Self.kib)
        #expect(space.buffer.object.isEvicted, "the second took its place")
        try fixture.bind(
            space.vm,
            [BindOperation(.map, address: 1 << 30, range: 512 << 10, buffer: second.object)])
        let before = Snapshot(fixture.device, space.object, [space.buffer, second])
        let refusal = #expect(throws: DeviceError.self) { try space.submitFill(fixture, 1) }
        #expect(refusal?.errno == ENOSPC)
        #expect(Snapshot(fixture.device, space.object, [space.buffer, second]) == before)
        try fixture.bind(space.vm, [BindOperation(.unmap, address: 1 << 30, range: 512 << 10)])
        try space.fill(fixture, 0x1234_5678)
        #expect(space.holds(0x1234_5678) && second.object.isEvicted)
    }

    @Test("No place to evict to is ENOMEM; a buffer larger than VRAM is ENOSPC")
    func nowhereToGo() throws {
        let fixture = try Self.makeFixture { $0.systemBytes = 512 << 10 }
        let first = try fixture.makeBuffer(768 * Self.kib)
        let refusal = #expect(throws: DeviceError.self) {
            try fixture.makeBuffer(512 * Self.kib)
        }
        #expect(refusal?.errno == ENOMEM)
        #expect(!first.object.isEvicted)
        let tooLarge = #expect(throws: DeviceError.self) { try fixture.makeBuffer(1 << 21) }
        #expect(tooLarge?.errno == EINVAL || tooLarge?.errno == ENOSPC)
        #expect(fixture.device.status().evictions == 0)
    }

    @Test("A new local buffer may take the place of others of its VM; an exec needs them all")
    func localBuffers() throws {
        let fixture = try Self.makeFixture()
        let (vm, _) = try fixture.makeVM()
        let buffers = try (0..<3).map { index in
            try fixture.client.createBuffer(
                name: "local\(index)", size: 512 << 10, placement: .vram, localTo: vm
            ).buffer
        }
        #expect(buffers.map(\.isEvicted) == [true, false, false])
        let batch = try fixture.makeBuffer(4096, .system)
        let queue = try fixture.client.createQueue(vm: vm, engineClass: .copy)
        try fixture.bind(
            vm,
            [BindOperation(.map, address: 1 << 40, range: 4096, buffer: batch.object)]
                + buffers.enumerated().map {
                    BindOperation(
                        .map, address: UInt64($0) << 20, range: 512 << 10, buffer: $1)
                })
        var writer = CommandWriter()
        writer.end()
        let refusal = #expect(throws: DeviceError.self) {
            try fixture.execute(queue, batch, at: 1 << 40, writer)
        }
        #expect(refusal?.errno == ENOSPC)
        try fixture.bind(vm, [BindOperation(.unmap, address: 1 << 20, range: 512 << 10)])
        #expect(try fixture.execute(queue, batch, at: 1 << 40, writer) == 0)
        #expect(buffers.map(\.isEvicted) == [false, true, false])
    }

    @Test("Buffers that the CPU must reach share the visible VRAM; the others need not")
    func smallBAR() throws {
        let fixture = try Self.makeFixture { $0.visibleVRAMBytes = 256 << 10 }
        let client = fixture.client
        let status = fixture.device.status()
        #expect(status.visibleVRAMBytes == 256 << 10)
        let refusal = #expect(throws: DeviceError.self) {
            try fixture.makeBuffer(512 * Self.kib)
        }
        #expect(refusal?.errno == ENOSPC)
        let hidden = try client.createBuffer(
            name: "hidden", size: 512 << 10, placement: .vram, needsCPUAccess: false)
        let visibleEnd = PhysicalMemoryMap.vramBase + (256 << 10)
        #expect(hidden.buffer.extents.allSatisfy { $0.address >= visibleEnd })
        let first = try fixture.makeBuffer(256 * Self.kib)
        #expect(first.object.extents.allSatisfy { $0.address < visibleEnd })
        // The hidden part has 256 KiB left: this one takes the place of the first.
        let second = try fixture.makeBuffer(256 * Self.kib)
        #expect(first.object.isEvicted && !second.object.isEvicted && !hidden.buffer.isEvicted)
    }

    @Test("The least recently used leaves; using it brings it back, at the next one's expense")
    func leastRecentlyUsed() throws {
        let fixture = try Self.makeFixture()
        let spaces = try (0..<4).map { _ in try Space(fixture, bytes: 256 * Self.kib) }
        #expect(fixture.device.status().evictions == 0)
        try spaces[0].fill(fixture, 1)
        try spaces[2].fill(fixture, 3)
        let newcomer = try Space(fixture, bytes: 256 * Self.kib)
        #expect(spaces.map(\.buffer.object.isEvicted) == [false, true, false, false])
        try spaces[1].fill(fixture, 2)
        #expect(spaces.map(\.buffer.object.isEvicted) == [false, false, false, true])
        try newcomer.fill(fixture, 5)
        try spaces[3].fill(fixture, 4)
        // The first was used longest ago.
        #expect(spaces.map(\.buffer.object.isEvicted) == [true, false, false, false])
        for (index, space) in spaces.enumerated() { #expect(space.holds(UInt32(index + 1))) }
    }

    @Test("An evicted buffer is in no page table, is shown so, and a prefetch brings it back")
    func prefetch() throws {
        let fixture = try Self.makeFixture()
        let space = try Space(fixture, bytes: 512 * Self.kib)
        let before = space.object.walk(0)?.physical
        #expect(before == space.buffer.object.extents[0].address)
        let other = try Space(fixture, bytes: 768 * Self.kib)
        // A second job of the buffer's engine proves that the eviction's is done.
        try other.fill(fixture, 7)
        #expect(space.object.walk(0)?.physical == nil)
        let shown = space.object.mappings(from: 0, limit: 1)
        #expect(shown[0].flags.contains(.evicted) && shown[0].placement == .system)
        try fixture.bind(space.vm, [BindOperation(.prefetch, address: 0, range: 512 << 10)])
        #expect(space.object.walk(0)?.physical == space.buffer.object.extents[0].address)
        #expect(!space.object.mappings(from: 0, limit: 1)[0].flags.contains(.evicted))
        #expect(
            fixture.device.memory.placement(of: space.buffer.object.extents[0].address) == .vram)
    }

    @Test("A buffer mapped in several VMs leaves all of them, and each binds it anew")
    func shared() throws {
        let fixture = try Self.makeFixture()
        let spaces = try (0..<3).map { _ in try Space(fixture, bytes: 64 * Self.kib) }
        let shared = try fixture.makeBuffer(256 * Self.kib)
        for space in spaces {
            try fixture.bind(
                space.vm,
                [BindOperation(.map, address: 1 << 32, range: 256 << 10, buffer: shared.object)])
        }
        let pusher = try Space(fixture, bytes: 1 << 20)
        try pusher.fill(fixture, 9)
        #expect(shared.object.isEvicted)
        for space in spaces { #expect(space.object.walk(1 << 32)?.physical == nil) }
        try spaces[1].fill(fixture, 1)
        #expect(!shared.object.isEvicted)
        let frame = shared.object.extents[0].address
        #expect(spaces[1].object.walk(1 << 32)?.physical == frame)
        #expect(spaces[0].object.walk(1 << 32)?.physical == nil, "not before it is used there")
        try spaces[0].fill(fixture, 2)
        #expect(spaces[0].object.walk(1 << 32)?.physical == frame)
    }

    @Test("A job that still uses a victim's memory is a dependency, and nobody waits")
    func foreignFence() throws {
        let fixture = try Self.makeFixture()
        let (victim, victimObject) = try fixture.makeVM("victim")
        let blocker = try SemaphoreBlocker(fixture, vm: victim, timeout: 60_000_000_000)
        let space = try Space(fixture, bytes: 1 << 20, waits: false)
        // Made at once, although its frames are those of the blocker's buffer until its job ends.
        let fence = try space.submitFill(fixture, 0xabcd_0123)
        #expect(!blocker.fence.isSignalled && !fence.isSignalled)
        #expect(victimObject.walk(0x7000_0000)?.physical != nil, "still in use")
        blocker.release()
        try #require(fence.wait(deadline: Runtime.deadline(after: 10_000_000_000)))
        #expect(fence.error == 0 && blocker.fence.error == 0 && blocker.fence.isSignalled)
        #expect(space.holds(0xabcd_0123))
        #expect(victimObject.walk(0x7000_0000)?.physical == nil)
    }

    @Test("Memory of a closed buffer that is still moving is waited for, not refused")
    func closedWhileMoving() throws {
        let fixture = try Self.makeFixture { $0.systemBytes = 1 << 20 }
        let (victim, _) = try fixture.makeVM("victim")
        let blocker: SemaphoreBlocker
        do {
            let moving = try fixture.makeBuffer(256 * Self.kib)
            try fixture.bind(
                victim,
                [BindOperation(.map, address: 0, range: 256 << 10, buffer: moving.object)])
            blocker = try SemaphoreBlocker(fixture, vm: victim, timeout: 60_000_000_000)
            // Its move waits for the job that uses it, and has its place in system memory already.
            _ = try fixture.makeBuffer(1 << 20)
            #expect(moving.object.isEvicted && !blocker.fence.isSignalled)
            _ = try fixture.client.bind(
                vm: victim, operations: [BindOperation(.unmap, address: 0, range: 256 << 10)])
            try fixture.client.closeBuffer(moving.handle)
        }
        // Whichever comes first, the request or the end of the job, the request is granted.
        let nobody = Condition()
        let release = try #require(
            RuntimeThread.start(name: "release") {
                _ = Guarded(.leaf, ()).wait(
                    on: nobody, deadline: Runtime.deadline(after: 100_000_000)
                ) { _ -> Bool? in nil }
                blocker.release()
            })
        defer { release.join() }
        _ = try fixture.makeBuffer(896 * Self.kib, .system)
    }

    @Test("Mapping an evicted buffer maps nothing until a job needs it")
    func bindEvicted() throws {
        let fixture = try Self.makeFixture()
        let evicted = try fixture.makeBuffer(256 * Self.kib)
        let space = try Space(fixture, bytes: 1 << 20)
        #expect(evicted.object.isEvicted)
        try fixture.bind(space.vm, [BindOperation(.unmap, address: 0, range: 1 << 20)])
        try fixture.client.closeBuffer(space.buffer.handle)
        try fixture.bind(
            space.vm,
            [BindOperation(.map, address: 0, range: 256 << 10, buffer: evicted.object)])
        #expect(space.object.walk(0)?.physical == nil)
        var writer = CommandWriter()
        writer.fill(0, bytes: 256 << 10, pattern: 77)
        writer.end()
        let error = try fixture.execute(space.queue, space.batch, at: 1 << 40, writer)
        #expect(error == 0)
        #expect(evicted.bytes.bindMemory(to: UInt32.self).allSatisfy { $0 == 77 })
    }

    @Test("A VM that is closed while its buffers are leaving")
    func closeDuringEviction() throws {
        let fixture = try Self.makeFixture()
        for _ in 0..<20 {
            let (victim, _) = try fixture.makeVM("victim")
            let blocker = try SemaphoreBlocker(fixture, vm: victim, timeout: 60_000_000_000)
            let space = try Space(fixture, bytes: 1 << 20, waits: false)
            let fence = try space.submitFill(fixture, 5)
            try fixture.client.closeVM(victim)
            try #require(fence.wait(deadline: Runtime.deadline(after: 10_000_000_000)))
            #expect(fence.error == 0 && blocker.fence.error == ECANCELED)
            #expect(space.holds(5))
            try fixture.client.closeVM(space.vm)
            for handle in [space.buffer.handle, space.batch.handle] {
                try fixture.client.closeBuffer(handle)
            }
        }
    }

    @Test("An exec that fails at any step changes nothing but where buffers are")
    func injected() throws {
        let fixture = try Self.makeFixture()
        let space = try Space(fixture, bytes: 512 * Self.kib)
        let pusher = try Space(fixture, bytes: 768 * Self.kib)
        try pusher.fill(fixture, 1)
        var steps = 0
        while true {
            let before = Snapshot(fixture.device, space.object, [space.buffer, space.batch])
            fixture.device.failures.arm(after: steps, errno: ENOMEM)
            let result = Result { try space.submitFill(fixture, UInt32(steps)) }
            fixture.device.failures.disarm()
            if case .success(let fence) = result {
                try #require(fence.wait(deadline: Runtime.deadline(after: 10_000_000_000)))
                #expect(fence.error == 0 && space.holds(UInt32(steps)))
                break
            }
            let after = Snapshot(fixture.device, space.object, [space.buffer, space.batch])
            #expect(after.mappings.map(\.address) == before.mappings.map(\.address))
            #expect(after.references == before.references && after.links == before.links)
            #expect(after.vmReferences == before.vmReferences)
            #expect(after.mappingsCounted == before.mappingsCounted)
            steps += 1
        }
        #expect(steps >= 2)
    }
}
