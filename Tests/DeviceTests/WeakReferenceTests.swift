import Device
import Engines
import Fencing
import Memory
import TestSupport
import Testing
import WireProtocol

/// VMs that do not keep the buffers that they map (the msm series, version 4, May 2025).
@Suite("Weak references", .serialized)
struct WeakReferenceTests {
    private func makeWeakVM(_ fixture: DeviceFixture) throws -> (handle: UInt32, vm: DeviceVM) {
        try fixture.client.createVM(
            name: "weak", start: 0, range: 1 << 47, flags: .weakReferences)
    }

    @Test("When the last hard holder lets go, the mappings vanish, tables and TLBs included")
    func vanish() throws {
        let fixture = try DeviceFixture()
        let (weak, weakVM) = try makeWeakVM(fixture)
        let (hard, hardVM) = try fixture.makeVM()
        let batch = try fixture.makeBuffer(4096)
        let queue = try fixture.client.createQueue(vm: weak, engineClass: .copy)
        let tables = fixture.device.tablePool.allocated
        let used = fixture.device.status().vramUsed
        let made = try fixture.client.createBuffer(name: "b", size: 1 << 16, placement: .vram)
        for vm in [weak, hard] {
            try fixture.bind(
                vm, [BindOperation(.map, address: 1 << 30, range: 1 << 16, buffer: made.buffer)])
        }
        #expect(made.buffer.hardReferenceCount == 2, "the handle and the hard VM")
        try fixture.bind(
            weak, [BindOperation(.map, address: 1 << 40, range: 4096, buffer: batch.object)])
        var writer = CommandWriter()
        writer.fill(1 << 30, bytes: 1 << 16, pattern: 3)
        writer.end()
        #expect(try fixture.execute(queue, batch, at: 1 << 40, writer) == 0)

        try fixture.client.closeBuffer(made.handle)
        #expect(weakVM.mappings(from: 0, limit: 9).count == 2, "the hard VM still holds it")
        #expect(try fixture.execute(queue, batch, at: 1 << 40, writer) == 0)

        try fixture.bind(hard, [BindOperation(.unmap, address: 1 << 30, range: 1 << 16)])
        #expect(weakVM.mappings(from: 0, limit: 9).map(\.address) == [1 << 40])
        // The TLB of the engine has the translation still, if nobody took it out.
        #expect(try fixture.execute(queue, batch, at: 1 << 40, writer) != 0)
        let fault = fixture.device.faults.reports(after: 0, limit: 1).last
        #expect(fault?.address == 1 << 30)
        try fixture.bind(weak, [BindOperation(.unmap, address: 1 << 40, range: 4096)])
        #expect(hardVM.mappings(from: 0, limit: 9).isEmpty)
        #expect(fixture.device.tablePool.allocated == tables)
        withExtendedLifetime(made) {}
        #expect(fixture.device.status().vramUsed == used + (1 << 16), "only the test's own")
    }

    @Test("A job that was submitted finishes on valid memory; the next one faults")
    func submittedJob() throws {
        let fixture = try DeviceFixture()
        let (weak, weakVM) = try makeWeakVM(fixture)
        let batch = try fixture.makeBuffer(4096)
        let next = try fixture.makeBuffer(4096)
        let semaphore = try SemaphoreBlocker(fixture, vm: weak)
        let made = try fixture.client.createBuffer(name: "b", size: 1 << 16, placement: .vram)
        try fixture.bind(
            weak,
            [
                BindOperation(.map, address: 1 << 30, range: 1 << 16, buffer: made.buffer),
                BindOperation(.map, address: 1 << 40, range: 4096, buffer: batch.object),
                BindOperation(.map, address: 1 << 41, range: 4096, buffer: next.object),
            ])
        let queue = try fixture.client.createQueue(vm: weak, engineClass: .copy, instance: 1)
        let second = try fixture.client.createQueue(vm: weak, engineClass: .copy, instance: 1)
        var writer = CommandWriter()
        writer.fill(1 << 30, bytes: 1 << 16, pattern: 0x0bad_cafe)
        writer.end()
        batch.write(writer.dwords)
        next.write(writer.dwords)
        let fence = try fixture.client.execute(
            queue: queue, batches: [CommandBatch(address: 1 << 40)], waits: [semaphore.point],
            signals: [])
        let memory = made.buffer.backing
        try fixture.client.closeBuffer(made.handle)
        #expect(weakVM.mappings(from: 1 << 30, limit: 1)[0].address > 1 << 30, "no longer seen")
        let late = try fixture.client.execute(
            queue: second, batches: [CommandBatch(address: 1 << 41)], waits: [], signals: [])
        #expect(!fence.isSignalled && !late.isSignalled)
        semaphore.release()
        let deadline = Runtime.deadline(after: 10_000_000_000)
        try #require(fence.wait(deadline: deadline) && late.wait(deadline: deadline))
        #expect(fence.error == 0)
        let words = memory.host.assumingMemoryBound(to: UInt32.self)
        #expect((0..<(1 << 14)).allSatisfy { words[$0] == 0x0bad_cafe })
        #expect(late.error != 0)
        #expect(fixture.device.faults.reports(after: 0, limit: 9).map(\.address) == [1 << 30])
    }

    @Test("A buffer that only weak VMs map is freed with its handle")
    func freed() throws {
        let fixture = try DeviceFixture()
        let (weak, _) = try makeWeakVM(fixture)
        for round in 0..<50 as Range<UInt64> {
            let made = try fixture.client.createBuffer(name: "b", size: 1 << 20, placement: .vram)
            try fixture.bind(
                weak,
                [
                    BindOperation(
                        .map, address: round << 21, range: 1 << 20, buffer: made.buffer)
                ])
            try fixture.client.closeBuffer(made.handle)
        }
        #expect(fixture.device.status().mappings == 0)
        fixture.expectNoMemoryInUse()
    }
}
