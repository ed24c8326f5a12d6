import Device
import Engines
import Fencing
import Glibc
import Memory
import Synchronization
import TestSupport
import Testing
import WireProtocol

/// More buffers than VRAM: everything that engines write arrives, wherever the buffers are.
@Suite("Over-commit")
struct OvercommitTests {
    /// One client with several VMs, each with its own part of the buffers.
    final class Tenant {
        struct Space {
            var vm: UInt32
            var queue: UInt32
            var buffers: [TestBuffer]
            var batch: TestBuffer
            /// What each buffer's words must be.
            var patterns: [UInt32]
        }

        let client: Client
        var spaces: [Space] = []
        var random: SplitMix64
        let bytes: UInt64
        static let batchAddress: UInt64 = 1 << 40

        init(
            _ device: Device, name: String, spaces count: Int, buffers: Int, bytes: UInt64,
            isLocal: Bool, flags: DeviceVM.Flags = [], seed: UInt64
        ) throws {
            client = device.makeClient(name: name, process: 2, user: 0, isPrivileged: false)
            random = SplitMix64(seed: seed)
            self.bytes = bytes
            for _ in 0..<count {
                let vm = try client.createVM(
                    name: "vm", start: 0, range: 1 << 47, flags: flags
                ).handle
                var list: [TestBuffer] = []
                var operations: [BindOperation] = []
                for index in 0..<buffers {
                    let made = try client.createBuffer(
                        name: "\(name)-\(index)", size: bytes, placement: .vram,
                        localTo: isLocal ? vm : nil)
                    list.append(TestBuffer(handle: made.handle, object: made.buffer))
                    operations.append(
                        BindOperation(
                            .map, address: UInt64(index) * bytes, range: bytes,
                            buffer: made.buffer))
                }
                let batch = try client.createBuffer(name: "batch", size: 4096, placement: .system)
                operations.append(
                    BindOperation(
                        .map, address: Self.batchAddress, range: 4096, buffer: batch.buffer))
                let bound = try client.bind(vm: vm, operations: operations)
                try #require(bound.fence.wait(deadline: Runtime.deadline(after: 20_000_000_000)))
                #expect(bound.fence.error == 0)
                spaces.append(
                    Space(
                        vm: vm,
                        queue: try client.createQueue(
                            vm: vm, engineClass: .copy,
                            instance: Int(random.next() % 2)),
                        buffers: list,
                        batch: TestBuffer(handle: batch.handle, object: batch.buffer),
                        patterns: Array(repeating: 0, count: buffers)))
            }
        }

        /// A job in a random VM: fills some buffers, copies others.
        func work() throws {
            let index = Int(random.next() % UInt64(spaces.count))
            let count = spaces[index].buffers.count
            var writer = CommandWriter()
            for _ in 0..<4 {
                let target = Int(random.next() % UInt64(count))
                if random.next() % 2 == 0 {
                    let pattern = UInt32(truncatingIfNeeded: random.next())
                    writer.fill(UInt64(target) * bytes, bytes: bytes, pattern: pattern)
                    spaces[index].patterns[target] = pattern
                } else {
                    let source = Int(random.next() % UInt64(count))
                    writer.copy(
                        from: UInt64(source) * bytes, to: UInt64(target) * bytes, bytes: bytes)
                    spaces[index].patterns[target] = spaces[index].patterns[source]
                }
            }
            writer.end()
            spaces[index].batch.write(writer.dwords)
            let fence = try client.execute(
                queue: spaces[index].queue,
                batches: [CommandBatch(address: Self.batchAddress)], waits: [], signals: [])
            try #require(fence.wait(deadline: Runtime.deadline(after: 20_000_000_000)))
            #expect(fence.error == 0, "\(client.device.faults.reports(after: 0, limit: 3))")
        }

        /// The number of wrong words in all buffers, as the CPU sees them.
        func wrongWords() -> Int {
            var wrong = 0
            for space in spaces {
                for (buffer, pattern) in zip(space.buffers, space.patterns) {
                    let words = buffer.object.backing.host.assumingMemoryBound(to: UInt32.self)
                    for word in 0..<Int(bytes / 4) where words[word] != pattern { wrong += 1 }
                }
            }
            return wrong
        }
    }

    private static func makeFixture(
        vram: UInt64 = 1 << 20, _ configure: (inout DeviceConfiguration) -> Void = { _ in }
    ) throws -> DeviceFixture {
        try DeviceFixture {
            $0.vramBytes = vram
            $0.tlbEntries = 1 << 16
            configure(&$0)
        }
    }

    @Test(
        "Three clients with four times the VRAM keep every byte", arguments: [false, true],
        [[], .immediateMode, .weakReferences, [.immediateMode, .weakReferences]]
            as [DeviceVM.Flags])
    func overcommit(isLocal: Bool, flags: DeviceVM.Flags) throws {
        let seed = UInt64(flags.rawValue) + 1
        let fixture = try Self.makeFixture()
        var tenants: [Tenant] = []
        for number in 0..<3 {
            tenants.append(
                try Tenant(
                    fixture.device, name: "tenant\(number)", spaces: 3, buffers: 7,
                    bytes: 64 << 10, isLocal: isLocal, flags: flags,
                    seed: seed &* 31 &+ UInt64(number)))
        }
        let total = tenants.reduce(0) { $0 + $1.spaces.count * 7 * (64 << 10) }
        #expect(total >= 3 * (1 << 20))
        var random = SplitMix64(seed: seed)
        for _ in 0..<60 { try tenants[Int(random.next() % 3)].work() }
        for tenant in tenants { #expect(tenant.wrongWords() == 0, "seed \(seed)") }
        let status = fixture.device.status()
        #expect(status.evictions > 20 && status.restores > 20)
        #expect(status.faults == 0)
        for tenant in tenants { tenant.client.close() }
        tenants = []
        fixture.expectNoMemoryInUse()
    }

    @Test("Clients in threads", .timeLimit(.minutes(2)))
    func threads() throws {
        let fixture = try Self.makeFixture()
        let device = fixture.device
        let failures = Guarded(.leaf, [String]())
        let threads = (0..<4).compactMap { number in
            RuntimeThread.start(name: "tenant\(number)") {
                do {
                    let tenant = try Tenant(
                        device, name: "t\(number)", spaces: 3, buffers: 6, bytes: 64 << 10,
                        isLocal: number % 2 == 0, flags: number == 3 ? .immediateMode : [],
                        seed: UInt64(number))
                    for _ in 0..<40 { try tenant.work() }
                    let wrong = tenant.wrongWords()
                    if wrong != 0 { failures.withLock { $0.append("\(wrong) wrong words") } }
                    tenant.client.close()
                } catch {
                    failures.withLock { $0.append("\(error)") }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(failures.withLock { $0 } == [])
        #expect(device.status().evictions > 0)
        fixture.expectNoMemoryInUse()
    }
}
