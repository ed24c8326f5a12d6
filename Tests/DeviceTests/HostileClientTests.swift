import Engines
import Fencing
import Glibc
import Memory
import PageTables
import Synchronization
import TestSupport
import Testing
import WireProtocol

@testable import Device

/// Clients that die, cheat and overreach.
@Suite("Hostile clients")
struct HostileClientTests {
    @Test("When an unmap fails, engines are cut off before its frames can have another owner")
    func failedUnmap() throws {
        let fixture = try DeviceFixture()
        let (handle, vm) = try fixture.makeVM()
        let made = try fixture.client.createBuffer(name: "x", size: 2 << 20, placement: .vram)
        try fixture.bind(
            handle, [BindOperation(.map, address: 0, range: 2 << 20, buffer: made.buffer)])
        try fixture.client.closeBuffer(made.handle)
        let frame = made.buffer.extents[0].address
        fixture.device.failures.arm(after: 0, errno: EIO, asynchronous: true)
        let unmap = try fixture.client.bind(
            vm: handle, operations: [BindOperation(.unmap, address: 0, range: 2 << 20)])
        #expect(unmap.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        #expect(unmap.fence.error == EIO)
        // Who has seen the error finds the VM banned.
        let refusal = #expect(throws: DeviceError.self) {
            try fixture.client.bind(vm: handle, operations: [])
        }
        #expect(refusal?.errno == ENOENT)
        var leads: [UInt64] = []
        vm.forEachLeaf { leads.append($0.physical) }
        #expect(leads == [frame], "the entry is still there")
        for mmu in fixture.device.mmus.mmus {
            let answer = mmu.withAccess {
                $0.translate(space: vm.addressSpace, address: 0, length: 8, intent: .read)
            }
            guard case .fault(let fault) = answer else {
                Issue.record("an engine can still read: \(answer)")
                continue
            }
            #expect(fault.reason == .spaceClosed)
        }
        try fixture.client.closeVM(handle)
    }

    @Test("A request that waits for a reservation ends with EINTR when its client goes")
    func cancelled() throws {
        let fixture = try DeviceFixture()
        let client = fixture.device.makeClient(
            name: "waiting", process: 2, user: 0, isPrivileged: false)
        let (handle, _) = try client.createVM(name: "vm", start: 0, range: 1 << 40)
        let buffer = try client.createBuffer(name: "b", size: 4096, placement: .vram).buffer
        let holder = buffer.reservation.lock()
        let outcome = Guarded(.leaf, Int32(-1))
        let request = RuntimeThread.start(name: "request") {
            do throws(DeviceError) {
                _ = try client.bind(
                    vm: handle,
                    operations: [BindOperation(.map, address: 0, range: 4096, buffer: buffer)])
                outcome.withLock { $0 = 0 }
            } catch {
                outcome.withLock { $0 = error.errno }
            }
        }
        while buffer.reservation.contention.waiters.isEmpty { sched_yield() }
        // Closing cancels first; then it needs what the request had.
        let closing = RuntimeThread.start(name: "closing") { client.close() }
        request?.join()
        #expect(outcome.withLock { $0 } == EINTR)
        #expect(buffer.vms.isEmpty, "nothing was mapped")
        buffer.reservation.unlock(holder)
        closing?.join()
    }

    @Test("Closing a VM while engines copy and unmaps wait")
    func closeWhileCopying() throws {
        let fixture = try DeviceFixture(tables: 16 << 20)
        for _ in 0..<30 {
            let (vm, _) = try fixture.makeVM()
            let (other, _) = try fixture.makeVM("other")
            let blocker = try SemaphoreBlocker(fixture, vm: other)
            let fence: Fence
            do {
                let big = try fixture.makeBuffer(8 << 20)
                let batch = try fixture.makeBuffer(4096)
                try fixture.bind(
                    vm,
                    [
                        BindOperation(.map, address: 0, range: 8 << 20, buffer: big.object),
                        BindOperation(.map, address: 1 << 40, range: 4096, buffer: batch.object),
                    ])
                var writer = CommandWriter()
                for _ in 0..<16 { writer.fill(0, bytes: 8 << 20, pattern: 0x5a5a_5a5a) }
                writer.jump(to: 1 << 40)
                batch.write(writer.dwords)
                let queue = try fixture.client.createQueue(
                    vm: vm, engineClass: .copy, instance: 1, timeout: 60_000_000_000)
                fence = try fixture.client.execute(
                    queue: queue, batches: [CommandBatch(address: 1 << 40)], waits: [], signals: [])
                _ = try fixture.client.bind(
                    vm: vm, operations: [BindOperation(.unmap, address: 0, range: 8 << 20)],
                    waits: [blocker.point])
                try fixture.client.closeBuffer(big.handle)
                try fixture.client.closeBuffer(batch.handle)
                let word = big.bytes.baseAddress!.assumingMemoryBound(to: Atomic<UInt64>.self)
                let deadline = Runtime.deadline(after: 5_000_000_000)
                while word.pointee.load(ordering: .relaxed) == 0 && Runtime.now() < deadline {
                    sched_yield()
                }
            }
            try fixture.client.closeVM(vm)
            #expect(fence.error == ECANCELED, "no fault, no crash: \(fence.error)")
            blocker.release()
            try fixture.client.closeVM(other)
        }
    }

    /// A bind that follows a cancelled one would find page tables that it was not planned for.
    @Test("No bind executes once its VM is being stopped")
    func stoppingOrder() throws {
        for _ in 0..<4 {
            let fixture = try DeviceFixture(tables: 64 << 20) { $0.quotas.queues = 1024 }
            let (vm, _) = try fixture.makeVM()
            let buffer = try fixture.makeBuffer(2 << 20)
            try fixture.bind(
                vm, [BindOperation(.map, address: 0, range: 2 << 20, buffer: buffer.object)])
            let blocker = try SemaphoreBlocker(fixture, vm: vm, timeout: 60_000_000_000)
            _ = try fixture.client.bind(
                vm: vm, operations: [BindOperation(.unmap, address: 0, range: 2 << 20)],
                waits: [blocker.point])
            var last: UInt32 = 0
            for _ in 0..<400 { last = try fixture.client.createQueue(vm: vm, engineClass: .bind) }
            let pages = (0..<512 as Range<UInt64>).map {
                BindOperation(
                    .map, address: $0 << 12, range: 4096, buffer: buffer.object, offset: $0 << 12)
            }
            let late = try fixture.client.bind(vm: vm, queue: last, operations: pages)
            try fixture.client.closeVM(vm)
            #expect(late.fence.error != 0)
            #expect(fixture.device.tablePool.allocated == 0)
            #expect(fixture.device.tablePool.reserved == 0)
        }
    }

    @Test("A closed handle frees no quota while a VM still maps the buffer")
    func quotasFollowTheMemory() throws {
        let fixture = try DeviceFixture {
            $0.quotas.bufferBytes = 4 << 20
            $0.quotas.buffers = 3
        }
        let (vm, _) = try fixture.makeVM()
        for index in 0..<3 as Range<UInt64> {
            let made = try fixture.client.createBuffer(
                name: "b", size: 1 << 20, placement: .vram)
            try fixture.bind(
                vm,
                [BindOperation(.map, address: index << 20, range: 4096, buffer: made.buffer)])
            try fixture.client.closeBuffer(made.handle)
        }
        let refusal = #expect(throws: DeviceError.self) {
            try fixture.client.createBuffer(name: "b", size: 4096, placement: .vram)
        }
        #expect(refusal?.errno == ENOSPC, "three buffers live")
        try fixture.bind(vm, [BindOperation(.unmap, address: 0, range: 1 << 30)])
        let deadline = Runtime.deadline(after: 5_000_000_000)
        while fixture.client.counts.bufferBytes != 0 && Runtime.now() < deadline { sched_yield() }
        #expect(fixture.client.counts.bufferBytes == 0)
        let bytes = #expect(throws: DeviceError.self) {
            try fixture.client.createBuffer(name: "b", size: 5 << 20, placement: .vram)
        }
        #expect(bytes?.errno == ENOMEM)
        _ = try fixture.client.createBuffer(name: "b", size: 4 << 20, placement: .vram)
    }

    @Test("Memory that an executed unmap gives back is there for who has seen its fence")
    func releasedMemoryIsThere() throws {
        let fixture = try DeviceFixture()
        let (vm, _) = try fixture.makeVM()
        for _ in 0..<200 {
            // All of VRAM, mapped, closed, unmapped: only the job still holds it.
            var refusal: DeviceError?
            var made: (handle: UInt32, buffer: BufferObject)?
            do throws(DeviceError) {
                made = try fixture.client.createBuffer(
                    name: "all", size: 64 << 20, placement: .vram)
            } catch {
                refusal = error
            }
            #expect(refusal?.errno == nil, "\(refusal?.description ?? "")")
            guard let made else { return }
            try fixture.bind(
                vm, [BindOperation(.map, address: 0, range: 64 << 20, buffer: made.buffer)])
            try fixture.client.closeBuffer(made.handle)
            try fixture.bind(vm, [BindOperation(.unmap, address: 0, range: 64 << 20)])
        }
    }

    @Test("One client cannot take the page-table memory of all")
    func tableQuota() throws {
        let fixture = try DeviceFixture(tables: 64 << 20) { $0.quotas.tablePages = 2000 }
        let (vm, _) = try fixture.makeVM()
        var refused = 0
        for index in 0..<64 as Range<UInt64> {
            do throws(DeviceError) {
                let bind = try fixture.client.bind(
                    vm: vm,
                    operations: [BindOperation(.mapNull, address: index << 30, range: 1 << 30)])
                #expect(bind.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
            } catch {
                #expect(error.errno == ENOSPC)
                refused += 1
            }
        }
        // Each 1 GiB null leaf holds 513 pages in reserve.
        #expect(refused == 61)
        #expect(fixture.device.tablePool.available > 10_000)
        try fixture.bind(vm, [BindOperation(.unmap, address: 0, range: 1 << 46)])
        try fixture.bind(vm, [BindOperation(.mapNull, address: 0, range: 1 << 30)])
    }

    @Test("A client may be closed while another thread uses it")
    func closeAgainstCreate() throws {
        let fixture = try DeviceFixture()
        for _ in 0..<50 {
            let client = fixture.device.makeClient(
                name: "victim", process: 2, user: 0, isPrivileged: false)
            let thread = RuntimeThread.start(name: "creator") {
                for _ in 0..<20 {
                    _ = try? client.createBuffer(name: "b", size: 4096, placement: .vram)
                    _ = try? client.createSyncobj(isSignalled: false)
                    _ = try? client.createVM(name: "v", start: 0, range: 1 << 30)
                }
            }
            client.close()
            thread?.join()
            #expect(client.counts.bufferBytes == 0)
        }
        #expect(fixture.device.memory.vram.usedBytes == 0)
        #expect(fixture.device.tablePool.allocated == 0)
    }

    @Test("Range sets overlap as page sets do", arguments: 0..<20 as Range<UInt64>)
    func addressRanges(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        for _ in 0..<200 {
            let lists = (0..<2).map { _ in
                (0..<Int.random(in: 0...5, using: &random)).map { _ in
                    VirtualRange(
                        address: UInt64.random(in: 0..<40, using: &random),
                        bytes: UInt64.random(in: 1...4, using: &random))
                }
            }
            let sets = lists.map { list in
                Set(list.flatMap { $0.address..<($0.address + $0.bytes) })
            }
            #expect(
                AddressRanges(lists[0]).overlaps(AddressRanges(lists[1]))
                    == !sets[0].isDisjoint(with: sets[1]), "seed \(seed): \(lists)")
        }
    }

    @Test("A finished bind keeps nothing of its plan")
    func finishedBindsAreSmall() throws {
        let fixture = try DeviceFixture()
        let (vm, _) = try fixture.makeVM()
        weak var weakBuffer: BufferObject?
        do {
            let made = try fixture.client.createBuffer(
                name: "b", size: 4096, placement: .system)
            weakBuffer = made.buffer
            try fixture.bind(
                vm, [BindOperation(.map, address: 0, range: 4096, buffer: made.buffer)])
            try fixture.bind(vm, [BindOperation(.unmap, address: 0, range: 4096)])
            try fixture.client.closeBuffer(made.handle)
        }
        let deadline = Runtime.deadline(after: 5_000_000_000)
        while weakBuffer != nil && Runtime.now() < deadline { sched_yield() }
        #expect(weakBuffer == nil, "the client's log of jobs keeps the jobs, not what they did")
    }
}
