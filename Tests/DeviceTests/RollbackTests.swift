import Device
import Fencing
import Glibc
import Memory
import TestSupport
import Testing

@Suite("All or nothing")
struct RollbackTests {
    /// For each of many random arrays, lets the request fail at its first step, its second, … until
    /// it succeeds; after every failure everything must be as it was.
    @Test("An injected failure at every step of every array changes nothing", arguments: 0..<12)
    func injectedFailures(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let fixture = try DeviceFixture()
        let (vm, object) = try fixture.makeVM()
        let buffers = try (0..<4).map { index in
            try fixture.makeBuffer(
                UInt64(1 + index) << 20, index % 2 == 0 ? .vram : .system, name: "b\(index)")
        }
        var failures = 0
        for _ in 0..<12 {
            let array = randomArray(&random, buffers)
            var steps = 0
            while true {
                let before = Snapshot(fixture.device, object, buffers)
                fixture.device.failures.arm(after: steps, errno: ENOMEM)
                do throws(DeviceError) {
                    let result = try fixture.client.bind(vm: vm, operations: array)
                    fixture.device.failures.disarm()
                    #expect(result.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
                    break
                } catch {
                    fixture.device.failures.disarm()
                    #expect(error.errno == ENOMEM)
                    let after = Snapshot(fixture.device, object, buffers)
                    #expect(after == before, "seed \(seed), step \(steps): \(error)")
                    failures += 1
                    steps += 1
                }
            }
            try expectExecuted(object, seed: seed)
        }
        #expect(failures > 12, "seed \(seed): the arrays have steps that can fail")
    }

    @Test("A page-table memory that is full refuses a map and nothing else", arguments: 0..<4)
    func outOfTables(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let fixture = try DeviceFixture(tables: 40 * 4096)
        let (vm, object) = try fixture.makeVM()
        let buffers = [try fixture.makeBuffer(4 << 20)]
        var refused = 0
        for _ in 0..<200 {
            let before = Snapshot(fixture.device, object, buffers)
            // Far apart, so that each map wants tables of its own.
            let address = UInt64.random(in: 0..<256, using: &random) << 33
            let map = BindOperation(
                .map, address: address, range: 2 << 20, buffer: buffers[0].object)
            var refusal: DeviceError?
            do throws(DeviceError) {
                let result = try fixture.client.bind(vm: vm, operations: [map])
                #expect(result.fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
            } catch {
                refusal = error
            }
            if let refusal {
                #expect(refusal.errno == ENOSPC)
                refused += 1
                #expect(Snapshot(fixture.device, object, buffers) == before, "seed \(seed)")
                // Punching a page out of a 2 MiB leaf takes a table, and is never refused.
                if let first = object.mappings(from: 0, limit: 1).first {
                    try fixture.bind(
                        vm, [BindOperation(.unmap, address: first.address, range: 4096)])
                }
            }
        }
        #expect(refused > 0, "seed \(seed): the memory is small enough to be refused")
        try fixture.bind(vm, [BindOperation(.unmap, address: 0, range: 1 << 47)])
        #expect(object.mappings(from: 0, limit: 1).isEmpty)
        #expect(fixture.device.tablePool.allocated == 1, "the root alone")
        #expect(fixture.device.tablePool.reserved == 0)
    }

    @Test("Many small maps of one array share their tables, large leaves included")
    func smallMapsShareTables() throws {
        // Two 2 MiB spans, page by page: the root, a table of 512 GiB and one of 1 GiB, two tables
        // of 2 MiB, and the reserves of what merges: two leaves of 2 MiB, never one of 1 GiB.
        let fixture = try DeviceFixture(tables: 8 * 4096)
        let (vm, object) = try fixture.makeVM()
        let buffer = try fixture.makeBuffer(4 << 20)
        let array = (0..<1024 as Range<UInt64>).map { page in
            BindOperation(
                .map, address: 1 << 30 | page << 12, range: 4096, buffer: buffer.object,
                offset: page << 12)
        }
        try fixture.bind(vm, array.shuffled())
        #expect(object.mappings(from: 0, limit: .max).count == 1024)
        var leaves: [UInt64] = []
        object.forEachLeaf { leaves.append($0.bytes) }
        #expect(leaves == [2 << 20, 2 << 20])
        // And every one of them can go, one by one.
        for page in [3, 700, 512, 1] as [UInt64] {
            try fixture.bind(
                vm, [BindOperation(.unmap, address: 1 << 30 | page << 12, range: 4096)])
        }
        #expect(object.mappings(from: 0, limit: .max).count == 1020)
    }

    @Test("An unmap passes the quota of mappings, a map does not")
    func mappingQuota() throws {
        let fixture = try DeviceFixture { $0.quotas.mappings = 4 }
        let (vm, object) = try fixture.makeVM()
        let buffer = try fixture.makeBuffer(1 << 20)
        let map = { (address: UInt64) in
            BindOperation(.map, address: address, range: 1 << 20, buffer: buffer.object)
        }
        try fixture.bind(vm, [map(0)])
        try fixture.bind(vm, [map(1 << 20)])
        try fixture.bind(vm, [map(2 << 20)])
        let error = #expect(throws: DeviceError.self) {
            try fixture.client.bind(vm: vm, operations: [map(3 << 20)])
        }
        #expect(error?.errno == ENOSPC)
        for page in 0..<8 as Range<UInt64> {
            try fixture.bind(
                vm, [BindOperation(.unmap, address: page << 13 | 0x1000, range: 4096)])
        }
        #expect(object.mappings(from: 0, limit: 100).count == 11)
    }

    private func randomArray(_ random: inout SplitMix64, _ buffers: [TestBuffer]) -> [BindOperation]
    {
        (0..<Int.random(in: 1...6, using: &random)).map { _ in
            let address = UInt64.random(in: 0..<512, using: &random) << 12
            let buffer = buffers.randomElement(using: &random)!
            let pages = UInt64.random(in: 1...128, using: &random)
            let range = min(pages << 12, buffer.object.size)
            let offset =
                UInt64.random(in: 0...(buffer.object.size - range) >> 12, using: &random) << 12
            return switch Int.random(in: 0..<10, using: &random) {
            case 0..<5:
                BindOperation(
                    .map, address: address, range: range, buffer: buffer.object, offset: offset,
                    readOnly: Bool.random(using: &random))
            case 5: BindOperation(.mapNull, address: address, range: range)
            case 6: BindOperation(.unmapAll, buffer: buffer.object)
            case 7: BindOperation(.prefetch, address: address, range: range)
            default: BindOperation(.unmap, address: address, range: range)
            }
        }
    }

    /// The page table must show exactly what the tree says, page by page.
    private func expectExecuted(_ vm: DeviceVM, seed: UInt64) throws {
        var pages: [UInt64: (null: Bool, readOnly: Bool)] = [:]
        for mapping in vm.mappings(from: 0, limit: .max) {
            for page in stride(from: mapping.address, to: mapping.address + mapping.range, by: 4096)
            {
                pages[page] = (
                    mapping.flags.contains(.null), mapping.flags.contains(.readOnly)
                )
            }
        }
        var seen = 0
        vm.forEachLeaf { leaf in
            for page in stride(from: leaf.address, to: leaf.address + leaf.bytes, by: 4096) {
                seen += 1
                let expected = pages[page]
                #expect(
                    expected?.null == leaf.isNull
                        && expected?.readOnly == leaf.flags.contains(.readOnly),
                    "seed \(seed), page 0x\(String(page, radix: 16))")
            }
        }
        #expect(seen == pages.count, "seed \(seed)")
    }
}
