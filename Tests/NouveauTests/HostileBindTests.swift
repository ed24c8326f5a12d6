import Device
import Fencing
import Glibc
import PageTables
import TestSupport
import Testing

@Suite("nouveau: random binds under pressure")
struct HostileBindTests {
    @Test(
        "Every answer is one that nouveau gives, and no page table is spent that nobody reserved",
        arguments: 0..<24)
    func pressure(_ seed: Int) throws {
        var random = SplitMix64(seed: UInt64(seed) &* 7919 &+ 17)
        let fixture = try NouveauFixture {
            $0.vramBytes = 16 << 20
            $0.pageTableBytes = UInt64(seed % 3 == 0 ? 48 : seed % 3 == 1 ? 160 : 4096) * 4096
        }
        let files = (0..<2).map { _ in fixture.open() }
        var buffers: [[UInt32]] = []
        var channels: [UInt32] = []
        var syncs: [UInt32] = []
        var timelinePoints: [UInt64] = [0, 0]
        for file in files {
            try file.vmInit()
            var list: [UInt32] = []
            for size in [1, 1, 3, 4] as [UInt64] {
                let out = try file.call(
                    Request.gemNew,
                    Bytes(48).put(4, UInt32(0x22)).put(8, size << 20))
                if out.result == 0 { list.append(out.argument.u32(0)) }
            }
            for size in [64, 128, 2048] as [UInt64] {
                let out = try file.call(
                    Request.gemNew, Bytes(48).put(4, UInt32(0x2)).put(8, size << 10))
                if out.result == 0 { list.append(out.argument.u32(0)) }
            }
            buffers.append(list)
            if let first = files.first, file !== first {
                // The same memory in two address spaces.
                for index in 4..<min(7, buffers[0].count) {
                    let exported = try first.call(
                        Request.primeHandleToFD, Bytes(12).put(0, buffers[0][index]))
                    guard let fd = exported.descriptor else { continue }
                    let got = try file.call(
                        Request.primeFDToHandle, Bytes(12), fds: [fd.rawValue])
                    if got.result == 0, index < list.count {
                        buffers[1][index] = got.argument.u32(0)
                    }
                }
            }
            channels.append(try file.channelAlloc())
            syncs.append(try file.syncobjCreate())
        }
        let sizes: [UInt64] = [1, 1, 3, 4, 0, 0, 2].map { $0 << 20 }
        func bytesOf(_ index: Int) -> UInt64 {
            index == 4 ? 64 << 10 : index == 5 ? 128 << 10 : sizes[index]
        }
        let end: UInt64 = 1 << 40
        let bases: [UInt64] = [
            0, 0x20_0000, (1 << 29) - (4 << 20), (1 << 38) - (8 << 20), (1 << 39) - (16 << 20),
            end - (8 << 20), 64 << 30,
        ]
        func address() -> UInt64 {
            let base = bases[Int(random.next() % UInt64(bases.count))]
            let unit: UInt64 = [0x1000, 0x10000, 0x20_0000][Int(random.next() % 3)]
            return (base + random.next() % (16 << 20)) / unit * unit
        }
        func range(_ limit: UInt64) -> UInt64 {
            let unit: UInt64 = [0x1000, 0x10000, 0x20_0000][Int(random.next() % 3)]
            return min(limit, (random.next() % 16 + 1) * unit)
        }
        var regions: [[(UInt64, UInt64)]] = [[], []]
        for round in 0..<400 {
            let f = Int(random.next() % 2)
            let file = files[f]
            var ops: [BindOp] = []
            for _ in 0..<(random.next() % 6 + 1) {
                switch random.next() % 12 {
                case 0...5:
                    guard !buffers[f].isEmpty else { continue }
                    let which = Int(random.next() % UInt64(buffers[f].count))
                    let size = bytesOf(which)
                    let offset = random.next() % size / 4096 * 4096
                    let at =
                        !regions[f].isEmpty && random.next() % 2 == 0
                        ? regions[f][Int(random.next() % UInt64(regions[f].count))].0
                            + random.next() % 512 * 4096 : address()
                    ops.append(
                        .map(buffers[f][which], at: at, range(size - offset), offset: offset))
                case 6...8: ops.append(.unmap(address(), range(64 << 20)))
                case 9:
                    ops.append(.unmap(address(), (random.next() % (1 << 30)) / 4096 * 4096 + 4096))
                case 10:
                    let region = (address(), range(.max) * (random.next() % 8 == 0 ? 512 : 1))
                    ops.append(.mapSparse(region.0, region.1))
                    regions[f].append(region)
                default:
                    guard !regions[f].isEmpty else { continue }
                    let region = regions[f][Int(random.next() % UInt64(regions[f].count))]
                    ops.append(.unmapSparse(region.0, region.1))
                }
            }
            var errno: Int32
            if random.next() % 3 == 0 {
                timelinePoints[f] += 1
                errno = try file.bind(
                    ops, asynchronous: true,
                    signals: [.timeline(syncs[f], timelinePoints[f])])
                if errno != 0 { timelinePoints[f] -= 1 }
            } else {
                errno = try file.bind(ops)
            }
            #expect(
                [0, EINVAL, ENOSPC, ENOMEM, ENOENT, EEXIST].contains(errno),
                "round \(round): \(errno)")
            // What is refused for want of something can still be undone.
            let unmaps = ops.filter { $0.op == 1 }
            if errno == ENOSPC || errno == ENOMEM, !unmaps.isEmpty {
                let undone = try file.bind(unmaps)
                #expect([0, EINVAL, ENOENT].contains(undone), "round \(round): \(undone)")
            }
            if random.next() % 4 == 0 {
                _ = try file.exec(channels[f], [])
            }
        }
        for (f, file) in files.enumerated() {
            if timelinePoints[f] > 0 {
                #expect(try file.timelineWait([(syncs[f], timelinePoints[f])]) == 0)
            }
            // Memory and what evicted buffers have left alike, inside of regions and outside.
            #expect(try file.bind([.unmap(0, 1 << 39)]) == 0)
            for region in regions[f] {
                let errno = try file.bind([.unmapSparse(region.0, region.1)])
                #expect([0, EINVAL, ENOENT].contains(errno), "\(errno)")
            }
            #expect(try file.bind([.unmap(0, 1 << 39)]) == 0)
            let vm = try #require(file.file.client.allVMs.first?.vm)
            #expect(vm.sparseRegions.isEmpty)
            // The kernel's part alone is left.
            #expect(vm.mappings(from: 0, limit: 2).allSatisfy { $0.address == 1 << 39 })
        }
    }
}
