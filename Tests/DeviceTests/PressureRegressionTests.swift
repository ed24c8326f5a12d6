import Engines
import Fencing
import GPUVMCore
import Glibc
import Memory
import PageTables
import TestSupport
import Testing
import WireProtocol

@testable import Device

/// Situations in which memory pressure and lifetimes met badly once.
@Suite("Pressure regressions", .serialized)
struct PressureRegressionTests {
    private static let mib: UInt64 = 1 << 20

    @Test(
        "What replaces a buffer that is leaving waits for the move, also if nobody holds the buffer",
        arguments: [true, false])
    func deadObjectReplaced(isDead: Bool) throws {
        let fixture = try DeviceFixture { $0.vramBytes = 2 * Self.mib }
        let (weak, _) = try fixture.client.createVM(
            name: "weak", start: 0, range: 1 << 47, flags: .weakReferences)
        let batch = try fixture.makeBuffer(4096, .system)
        let fresh = try fixture.makeBuffer(Self.mib, .system)
        // A buffer whose one hard reference is this test's: a handle that another thread closes.
        let x = BufferObject(
            name: "x", backing: try SharedMemory(name: "x", bytes: Self.mib), placement: .vram,
            residency: fixture.device.residency)
        var locking = ExecLocking(ignoresDuplicates: true)
        try locking.untilAllLocked { locking throws(GPUVMError) in
            try locking.prepare(x, slots: 1)
            do { try fixture.device.residency.makeResident(x, locking: &locking) } catch {
                throw .contended
            }
        }
        locking.unlockAll()
        try fixture.bind(
            weak,
            [
                BindOperation(.map, address: 1 << 30, range: Self.mib, buffer: x),
                BindOperation(.map, address: 1 << 40, range: 4096, buffer: batch.object),
            ])
        let semaphore = try SemaphoreBlocker(fixture, vm: weak)  // its job has a fence on x
        // Another client makes room: x leaves as soon as the blocked job has ended.
        let other = fixture.device.makeClient(
            name: "other", process: 2, user: 0, isPrivileged: false)
        _ = try other.createBuffer(name: "o", size: Self.mib, placement: .vram)
        try #require(x.isEvicted)
        // closeBuffer() on another thread, between its two steps.
        if isDead { x.releaseHardReference() }
        let bound = try fixture.client.bind(
            vm: weak,
            operations: [
                BindOperation(.map, address: 1 << 30, range: Self.mib, buffer: fresh.object)
            ])
        #expect(!bound.fence.isSignalled)
        semaphore.release()
        try #require(semaphore.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        let queue = try fixture.client.createQueue(vm: weak, engineClass: .copy, instance: 1)
        #expect(bound.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        var writer = CommandWriter()
        writer.fill(1 << 30, bytes: Self.mib, pattern: 7)
        writer.end()
        #expect(try fixture.execute(queue, batch, at: 1 << 40, writer) == 0)
    }

    @Test("A victim too large for system memory does not hide a smaller one that will do")
    func smallerVictim() throws {
        let fixture = try DeviceFixture {
            $0.vramBytes = 4 * Self.mib
            $0.systemBytes = 2 * Self.mib
        }
        let large = try fixture.makeBuffer(3 * Self.mib)
        let small = try fixture.makeBuffer(1 * Self.mib)
        let new = try fixture.makeBuffer(1 * Self.mib)
        withExtendedLifetime((large, small, new)) {}
    }

    @Test("A buffer that came back is bound anew once")
    func spuriousRebind() throws {
        let fixture = try DeviceFixture { $0.vramBytes = Self.mib }
        let (vm, object) = try fixture.makeVM()
        let a = try fixture.makeBuffer(Self.mib)
        let batch = try fixture.makeBuffer(4096, .system)
        try fixture.bind(
            vm,
            [
                BindOperation(.map, address: 0, range: Self.mib, buffer: a.object),
                BindOperation(.map, address: 1 << 40, range: 4096, buffer: batch.object),
            ])
        let queue = try fixture.client.createQueue(vm: vm, engineClass: .copy)
        let b = try fixture.makeBuffer(Self.mib)
        try #require(a.object.isEvicted)
        try fixture.client.closeBuffer(b.handle)
        var writer = CommandWriter()
        writer.end()
        var binds: [UInt64] = []
        for _ in 0..<4 {
            #expect(try fixture.execute(queue, batch, at: 1 << 40, writer) == 0)
            binds.append(fixture.device.status().bindJobs)
        }
        #expect(binds.dropFirst().allSatisfy { $0 == binds[0] }, "\(binds)")
        withExtendedLifetime(object) {}
    }

    @Test(
        "Mappings of one buffer share the page tables that its return takes",
        arguments: [DeviceVM.Flags(), .immediateMode])
    func rebindTables(
        flags: DeviceVM.Flags
    ) throws {
        let fixture = try DeviceFixture(tables: 8 << 20) { $0.vramBytes = 4 * Self.mib }
        let (vm, _) = try fixture.client.createVM(
            name: "vm", start: 0, range: 1 << 47, flags: flags)
        let a = try fixture.makeBuffer(4 * Self.mib)
        let batch = try fixture.makeBuffer(4096, .system)
        try fixture.bind(
            vm, [BindOperation(.map, address: 1 << 40, range: 4096, buffer: batch.object)])
        // Every page on its own, in reverse order: 1024 mappings within two or three tables.
        for page in 0..<1024 as Range<UInt64> {
            try fixture.bind(
                vm,
                [
                    BindOperation(
                        .map, address: page << 12, range: 4096, buffer: a.object,
                        offset: (1023 - page) << 12)
                ])
        }
        let queue = try fixture.client.createQueue(vm: vm, engineClass: .copy)
        let b = try fixture.makeBuffer(4 * Self.mib)
        try #require(a.object.isEvicted)
        try fixture.client.closeBuffer(b.handle)
        var writer = CommandWriter()
        writer.end()
        #expect(try fixture.execute(queue, batch, at: 1 << 40, writer) == 0)
    }

    @Test("A banned VM with weak references lets go of a buffer that nobody holds")
    func bannedWeakVMKeeps() throws {
        let fixture = try DeviceFixture()
        let (weak, weakVM) = try fixture.client.createVM(
            name: "weak", start: 0, range: 1 << 47, flags: .weakReferences)
        let x = try fixture.client.createBuffer(name: "x", size: Self.mib, placement: .vram)
        try fixture.bind(
            weak, [BindOperation(.map, address: 1 << 30, range: Self.mib, buffer: x.buffer)])
        fixture.device.failures.arm(after: 0, errno: EIO, asynchronous: true)
        let bad = try fixture.client.bind(
            vm: weak, operations: [BindOperation(.mapNull, address: 0, range: 4096)])
        _ = bad.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000))
        fixture.device.failures.disarm()
        #expect(weakVM.currentCondition != .active)
        try fixture.client.closeBuffer(x.handle)
        #expect(x.buffer.vms.isEmpty, "still mapped by the banned VM")
    }

    /// Two streams of one open file are two threads: one may close what the other binds.
    @Test(
        "A buffer whose last handle is gone cannot be bound: ENOENT", arguments: [false, true],
        [false, true])
    func bindOfDead(isWeak: Bool, fromPersonality: Bool) throws {
        let fixture = try DeviceFixture()
        let (vm, object) = try fixture.client.createVM(
            name: "vm", start: 0, range: 1 << 47, flags: isWeak ? .weakReferences : [])
        let x = try fixture.client.createBuffer(name: "x", size: Self.mib, placement: .vram)
        try fixture.client.closeBuffer(x.handle)
        let operations = [BindOperation(.map, address: 0, range: Self.mib, buffer: x.buffer)]
        let refusal = #expect(throws: DeviceError.self) {
            if fromPersonality {
                try fixture.client.accept(
                    BindArray(operations), in: object, inFences: [], outPoints: []
                ).start()
            } else {
                _ = try fixture.client.bind(vm: vm, operations: operations)
            }
        }
        #expect(refusal?.errno == ENOENT)
        #expect(object.mappings(from: 0, limit: 1).isEmpty)
    }

    @Test(
        "A prefetch sees what earlier operations of its array map",
        arguments: [DeviceVM.Flags(), .immediateMode])
    func prefetchAfterMap(
        flags: DeviceVM.Flags
    ) throws {
        let fixture = try DeviceFixture { $0.vramBytes = Self.mib }
        let (vm, _) = try fixture.client.createVM(
            name: "vm", start: 0, range: 1 << 47, flags: flags)
        let a = try fixture.makeBuffer(Self.mib)
        let b = try fixture.makeBuffer(Self.mib)
        try #require(a.object.isEvicted)
        try fixture.bind(
            vm,
            [
                BindOperation(.map, address: 0, range: Self.mib, buffer: a.object),
                BindOperation(.prefetch, address: 0, range: Self.mib),
            ])
        #expect(!a.object.isEvicted)
        withExtendedLifetime(b) {}
    }

    @Test(
        "An exec that brings a buffer back does not wait for binds elsewhere",
        arguments: [DeviceVM.Flags(), .immediateMode])
    func execBehindForeignBind(
        flags: DeviceVM.Flags
    ) throws {
        let fixture = try DeviceFixture { $0.vramBytes = 2 * Self.mib }
        let (other, _) = try fixture.makeVM("blocked")
        let (vm, _) = try fixture.client.createVM(
            name: "vm", start: 0, range: 1 << 47, flags: flags)
        let a = try fixture.makeBuffer(Self.mib)
        let batch = try fixture.makeBuffer(4096, .system)
        let system = try fixture.makeBuffer(4096, .system)
        try fixture.bind(
            vm,
            [
                BindOperation(.map, address: 0, range: Self.mib, buffer: a.object),
                BindOperation(.map, address: 1 << 40, range: 4096, buffer: batch.object),
            ])
        let b = try fixture.makeBuffer(Self.mib + Self.mib / 2)
        try #require(a.object.isEvicted)
        try fixture.client.closeBuffer(b.handle)
        let semaphore = try SemaphoreBlocker(fixture, vm: other)
        let bindQueue = try fixture.client.createQueue(vm: vm, engineClass: .bind)
        _ = try fixture.client.bind(
            vm: vm, queue: bindQueue,
            operations: [
                BindOperation(.map, address: 1 << 42, range: 4096, buffer: system.object)
            ], waits: [semaphore.point])
        let queue = try fixture.client.createQueue(vm: vm, engineClass: .copy, instance: 1)
        var writer = CommandWriter()
        writer.end()
        batch.write(writer.dwords)
        let fence = try fixture.client.execute(
            queue: queue, batches: [CommandBatch(address: 1 << 40)], waits: [], signals: [])
        #expect(fence.wait(deadline: Runtime.deadline(after: 1_500_000_000)))
        semaphore.release()
    }

    @Test("A buffer is unmapped from all VMs of its client")
    func unmapFromAll() throws {
        let fixture = try DeviceFixture()
        let buffer = try fixture.makeBuffer(8192)
        let vms = try [DeviceVM.Flags(), .immediateMode, .weakReferences].map {
            try fixture.client.createVM(name: "vm", start: 0, range: 1 << 47, flags: $0)
        }
        for vm in vms.dropLast() {
            try fixture.bind(
                vm.handle,
                [
                    BindOperation(.map, address: 4096, range: 4096, buffer: buffer.object),
                    BindOperation(.map, address: 1 << 30, range: 8192, buffer: buffer.object),
                ])
        }
        let fences = try fixture.client.unmapFromAllVMs(buffer.handle)
        #expect(fences.count == 2, "one for each VM that mapped it")
        for fence in fences {
            #expect(fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        }
        for (_, vm) in vms {
            #expect(vm.mappings(from: 0, limit: 1).isEmpty && vm.walk(4096)?.physical == nil)
        }
    }

    @Test("In immediate mode a buffer outlives its entries, whoever cleans up")
    func framesFreedBeforeEntries() throws {
        let fixture = try DeviceFixture(tables: 256 << 20)
        let (vm, object) = try fixture.client.createVM(
            name: "vm", start: 0, range: 1 << 47, flags: .immediateMode)
        let base: UInt64 = 1 << 30
        var made: (handle: UInt32, buffer: BufferObject)? = try fixture.client.createBuffer(
            name: "x", size: 4096, placement: .vram)
        weak let x = made?.buffer
        try fixture.bind(
            vm, [BindOperation(.map, address: base, range: 4096, buffer: made?.buffer)])
        for batch in 0..<20 as Range<UInt64> {
            try fixture.bind(
                vm,
                (0..<2000 as Range<UInt64>).map {
                    BindOperation(
                        .mapNull, address: base + (1 + batch * 2000 + $0) << 12, range: 4096)
                })
        }
        try fixture.client.closeBuffer(try #require(made?.handle))
        made = nil
        #expect(x != nil, "the VM holds it")
        let side = try fixture.client.createQueue(vm: vm, engineClass: .bind)
        let unmap = try fixture.client.bind(
            vm: vm, operations: [BindOperation(.unmap, address: base, range: 40_001 << 12)])
        var isStale = false
        while !unmap.fence.isSignalled && !isStale {
            // Carries out only the synchronisation; its end cleans up.
            let nothing = try fixture.client.bind(vm: vm, queue: side, operations: [])
            _ = nothing.fence.wait(deadline: Runtime.deadline(after: 1_000_000_000))
            if x == nil, case .leaf = object.table.lookUp(base), !unmap.fence.isSignalled {
                isStale = true
            }
        }
        #expect(!isStale, "the frames are free, and an entry leads to them")
        _ = unmap.fence.wait(deadline: Runtime.deadline(after: 20_000_000_000))
    }
}
