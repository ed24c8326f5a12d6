@testable import Device
import Fencing
import Glibc
import Memory
import PageTables
import TestSupport
import Testing

@Suite("nouveau: page tables against the tree, under pressure")
struct SparseOracleTests {
    @Test(
        "Walks lead where the mappings say, or read zero in a region, or nowhere", arguments: 0..<16
    )
    func oracle(_ seed: Int) throws {
        var random = SplitMix64(seed: UInt64(seed) &* 7907 &+ 29)
        let fixture = try NouveauFixture {
            $0.vramBytes = 16 << 20
            $0.pageTableBytes = UInt64(seed % 2 == 0 ? 4096 : 128) * 4096
        }
        let file = fixture.open()
        try file.vmInit()
        let channel = try file.channelAlloc()
        let sizes: [UInt64] = [3 << 20, 2 << 20, 4 << 20, 1 << 20, 2 << 20, 128 << 10, 64 << 10]
        var handles: [UInt32] = []
        for (index, size) in sizes.enumerated() {
            handles.append(
                try file.expect(
                    Request.gemNew,
                    Bytes(48).put(4, UInt32(index % 2 == 0 ? 0x22 : 0x2)).put(8, size)
                ).argument.u32(0))
        }
        let vm = try #require(file.file.client.allVMs.first?.vm)
        let bases: [UInt64] = [(1 << 29) - (4 << 20), (1 << 38) - (4 << 20), 64 << 30]
        let window: UInt64 = 8 << 20
        func address() -> UInt64 {
            let unit: UInt64 = [0x1000, 0x10000, 0x20_0000][Int(random.next() % 3)]
            return (bases[Int(random.next() % 3)] + random.next() % window) / unit * unit
        }
        func range(_ limit: UInt64) -> UInt64 {
            let unit: UInt64 = [0x1000, 0x10000, 0x20_0000][Int(random.next() % 3)]
            return min(limit, (random.next() % 16 + 1) * unit)
        }
        func check(_ round: Int, strict: Bool) throws {
            let mappings = vm.mappings(from: 0, limit: .max)
            let sparse = vm.sparseRegions
            let buffers = Dictionary(
                uniqueKeysWithValues: fixture.device.buffers.map { ($0.id, $0) })
            for _ in 0..<60 {
                let at = address()
                guard let walk = vm.walk(at) else { return }
                if let va = mappings.first(where: { $0.address <= at && at - $0.address < $0.range }
                ) {
                    switch walk.result {
                    case .leaf(let leaf):
                        if leaf.isNull {
                            Issue.record(
                                "seed \(seed) round \(round): null under a mapping at \(at)")
                        } else if let buffer = buffers[va.buffer], strict {
                            var offset = at - va.address + va.offset
                            var physical: UInt64?
                            for extent in buffer.extents {
                                if offset < extent.bytes {
                                    physical = extent.address + offset
                                    break
                                }
                                offset -= extent.bytes
                            }
                            #expect(
                                leaf.physical + (at - leaf.address) == physical,
                                "seed \(seed) round \(round)")
                        }
                    case .fault:
                        if strict {
                            Issue.record("seed \(seed) round \(round): hole under a mapping")
                        }
                    }
                } else if sparse.contains(where: { $0.contains(at) }) {
                    guard case .leaf(let leaf) = walk.result, leaf.isNull else {
                        Issue.record(
                            "seed \(seed) round \(round): no zero in a region: \(walk.result)")
                        continue
                    }
                } else {
                    guard case .fault = walk.result else {
                        Issue.record("seed \(seed) round \(round): a leaf of nothing")
                        continue
                    }
                }
            }
        }
        var regions: [(UInt64, UInt64)] = []
        for round in 0..<300 {
            var ops: [BindOp] = []
            for _ in 0..<(random.next() % 5 + 1) {
                switch random.next() % 12 {
                case 0...6:
                    let which = Int(random.next() % UInt64(handles.count))
                    let offset = random.next() % sizes[which] / 4096 * 4096
                    ops.append(
                        .map(
                            handles[which], at: address(), range(sizes[which] - offset),
                            offset: offset))
                case 7...9: ops.append(.unmap(address(), range(16 << 20)))
                case 10:
                    let region = (address(), range(.max))
                    ops.append(.mapSparse(region.0, region.1))
                    regions.append(region)
                default:
                    guard !regions.isEmpty else { continue }
                    let region = regions.remove(at: Int(random.next() % UInt64(regions.count)))
                    ops.append(.unmapSparse(region.0, region.1))
                }
            }
            _ = try file.bind(ops)
            if random.next() % 3 == 0 {
                // Somebody takes memory away, and the next exec brings it back.
                let made = try file.call(
                    Request.gemNew,
                    Bytes(48).put(4, UInt32(2)).put(8, (random.next() % 12 + 1) << 20))
                if made.result == 0 {
                    try file.expect(Request.gemClose, Bytes(8).put(0, made.argument.u32(0)))
                }
            }
            if random.next() % 4 == 0 {
                let errno = try file.exec(channel, [])
                let done = try file.syncobjCreate()
                if errno == 0 {
                    #expect(try file.exec(channel, [], signals: [Sync(handle: done)]) == 0)
                    #expect(try file.wait([done]) == 0)
                    #expect(try file.bind([]) == 0)
                    try check(round, strict: true)
                }
                try file.expect(Request.syncobjDestroy, Bytes(8).put(0, done))
            } else {
                #expect(try file.bind([]) == 0)
                try check(round, strict: false)
            }
        }
    }
}
