import Device
import Engines
import Fencing
import Glibc
import Memory
import TestSupport
import Testing
import WireProtocol

/// VMs whose tree changes inside of the bind jobs.
@Suite("Immediate mode")
struct ImmediateModeTests {
    private func makeVM(_ fixture: DeviceFixture) throws -> (handle: UInt32, vm: DeviceVM) {
        try fixture.client.createVM(
            name: "immediate", start: 0, range: 1 << 47, flags: .immediateMode)
    }

    @Test("The tree changes when the job executes, not before")
    func whenExecuted() throws {
        let fixture = try DeviceFixture()
        let (handle, vm) = try makeVM(fixture)
        let (other, _) = try fixture.makeVM()
        let buffer = try fixture.makeBuffer(1 << 16)
        let blocker = try SemaphoreBlocker(fixture, vm: other)
        let bound = try fixture.client.bind(
            vm: handle,
            operations: [BindOperation(.map, address: 4096, range: 8192, buffer: buffer.object)],
            waits: [blocker.point])
        #expect(vm.mappings(from: 0, limit: 9).isEmpty)
        #expect(buffer.object.hardReferenceCount == 2, "the pair is there")
        blocker.release()
        try #require(bound.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
        #expect(vm.mappings(from: 0, limit: 9).map(\.address) == [4096])
        #expect(vm.walk(4096)?.physical == buffer.object.extents[0].address)
        try fixture.bind(handle, [BindOperation(.unmapAll, buffer: buffer.object)])
        #expect(vm.mappings(from: 0, limit: 9).isEmpty && vm.walk(4096)?.physical == nil)
        // The pair goes with the deferred clean-up, after the fence.
        let deadline = Runtime.deadline(after: 5_000_000_000)
        while buffer.object.hardReferenceCount != 1, Runtime.now() < deadline { sched_yield() }
        #expect(buffer.object.hardReferenceCount == 1)
    }

    @Test("Ops are not known at submission; a bad range changes nothing")
    func refusals() throws {
        let fixture = try DeviceFixture()
        let (handle, vm) = try makeVM(fixture)
        let buffer = try fixture.makeBuffer(1 << 16)
        let ops = #expect(throws: DeviceError.self) {
            try fixture.client.bind(
                vm: handle,
                operations: [BindOperation(.map, address: 0, range: 4096, buffer: buffer.object)],
                recordsOperations: true)
        }
        #expect(ops?.errno == EINVAL)
        let range = #expect(throws: DeviceError.self) {
            try fixture.client.bind(
                vm: handle,
                operations: [
                    BindOperation(.map, address: 0, range: 4096, buffer: buffer.object),
                    BindOperation(.unmap, address: 1 << 47, range: 4096),
                ])
        }
        #expect(range?.errno == EINVAL)
        #expect(buffer.object.hardReferenceCount == 1)
        #expect(vm.mappings(from: 0, limit: 9).isEmpty)
        #expect(fixture.device.tablePool.reserved == 0)
        #expect(fixture.device.status().mappings == 0)
    }

    @Test("A failure at any step of a request changes nothing", arguments: [1, 2, 3] as [UInt64])
    func injected(seed: UInt64) throws {
        let fixture = try DeviceFixture(tables: 16 << 20)
        let (handle, vm) = try makeVM(fixture)
        let buffers = try (0..<3).map { _ in try fixture.makeBuffer(1 << 18) }
        var random = SplitMix64(seed: seed)
        for _ in 0..<20 {
            let operations = Self.randomOperations(&random, buffers)
            let before = Snapshot(fixture.device, vm, buffers)
            fixture.device.failures.arm(after: Int(random.next() % 8), errno: ENOMEM)
            let result = Result { try fixture.client.bind(vm: handle, operations: operations) }
            fixture.device.failures.disarm()
            switch result {
            case .success(let bound):
                try #require(bound.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
                // Quotas are settled before the fence, pairs right after it.
                _ = vm.report()
                Self.settle(fixture)
            case .failure:
                #expect(Snapshot(fixture.device, vm, buffers) == before, "seed \(seed)")
            }
        }
    }

    /// A synchronous no-op on the device's clean-up: every hook of earlier jobs has run.
    private static func settle(_ fixture: DeviceFixture) {
        let deadline = Runtime.deadline(after: 5_000_000_000)
        while fixture.device.hasPendingReleases, Runtime.now() < deadline { sched_yield() }
    }

    private static func randomOperations(
        _ random: inout SplitMix64, _ buffers: [TestBuffer]
    ) -> [BindOperation] {
        (0..<Int(1 + random.next() % 6)).map { _ in
            let page: UInt64 = 4096
            let address = random.next() % 96 * page
            let range = (1 + random.next() % 32) * page
            let buffer = buffers[Int(random.next() % UInt64(buffers.count))].object
            switch random.next() % 8 {
            case 0: return BindOperation(.unmapAll, buffer: buffer)
            case 1, 2: return BindOperation(.unmap, address: address, range: range)
            case 3: return BindOperation(.mapNull, address: address, range: range)
            default:
                return BindOperation(
                    .map, address: address, range: range, buffer: buffer,
                    offset: random.next() % 32 * page, readOnly: random.next() % 4 == 0)
            }
        }
    }

    @Test(
        "Random requests leave the mappings, link orders and page tables of a normal VM",
        arguments: [11, 12, 13, 14] as [UInt64])
    func asNormalMode(seed: UInt64) throws {
        let fixture = try DeviceFixture(tables: 16 << 20)
        let (immediate, immediateVM) = try makeVM(fixture)
        let (normal, normalVM) = try fixture.makeVM()
        let buffers = try (0..<3).map { _ in try fixture.makeBuffer(1 << 18) }
        var random = SplitMix64(seed: seed)
        for round in 0..<60 {
            let operations = Self.randomOperations(&random, buffers)
            try fixture.bind(immediate, operations)
            try fixture.bind(normal, operations)
            #expect(
                immediateVM.mappings(from: 0, limit: .max)
                    == normalVM.mappings(
                        from: 0, limit: .max), "seed \(seed), round \(round)")
            for buffer in buffers {
                #expect(
                    immediateVM.mappingAddresses(of: buffer.object)
                        == normalVM.mappingAddresses(of: buffer.object))
            }
            var leaves: [[UInt64]] = [[], []]
            immediateVM.forEachLeaf { leaves[0] += [$0.address, $0.physical, $0.bytes] }
            normalVM.forEachLeaf { leaves[1] += [$0.address, $0.physical, $0.bytes] }
            #expect(leaves[0] == leaves[1], "seed \(seed), round \(round)")
        }
    }
}
