import CWireProtocol
import Fencing
import GPUVMClient
import Glibc
import TestSupport
import Testing
import WireProtocol

/// Three clients whose buffers are four times VRAM: every byte survives.
@Suite struct OverCommitTests {
    /// Buffers of one VM, and what each byte of them has to be.
    private final class Space {
        let bench: Workbench
        let buffers: [BufferObject]
        private var model: [[UInt8]]
        static let base: UInt64 = 0x1000_0000
        static let distance: UInt64 = 0x100_0000
        var isOpen = false

        init(
            _ connection: Connection, sizes: [UInt64], local: Int, random: inout SplitMix64
        ) throws {
            let bench = try Workbench(connection)
            self.bench = bench
            buffers = try sizes.enumerated().map { index, size in
                try connection.makeBuffer(
                    size: size, placement: .vram, localTo: index < local ? bench.vm : nil)
            }
            model = sizes.map { [UInt8](repeating: 0, count: Int($0)) }
            try bench.vm.bind(
                buffers.enumerated().map {
                    .map($1, at: Self.address($0), range: $1.size)
                })
            for index in buffers.indices { try write(index, &random) }
        }

        static func address(_ index: Int) -> UInt64 { base + UInt64(index) * distance }

        /// Random bytes, by the CPU, wherever the buffer is at this moment.
        private func write(_ index: Int, _ random: inout SplitMix64) throws {
            // No two pages of a buffer are alike: a period of 64 KiB and a word.
            let words = (0..<8193).map { _ in random.next() }
            words.withUnsafeBytes { noise in
                model[index].withUnsafeMutableBytes { bytes in
                    for start in stride(from: 0, to: bytes.count, by: noise.count) {
                        let part = min(noise.count, bytes.count - start)
                        UnsafeMutableRawBufferPointer(rebasing: bytes[start...]).copyMemory(
                            from: UnsafeRawBufferPointer(rebasing: noise[..<part]))
                    }
                }
            }
            let mapping = try buffers[index].map()
            model[index].withUnsafeBytes { mapping.copyMemory(from: $0) }
        }

        /// Copies and fills by an engine, in the model as well.
        func work(_ random: inout SplitMix64) throws {
            var commands = CommandWriter()
            for _ in 0..<(3 + random.below(4)) {
                let target = random.below(buffers.count)
                let source = (target + 1 + random.below(buffers.count - 1)) % buffers.count
                let limit = min(model[source].count, model[target].count)
                let bytes = 1 + random.below(limit)
                let from = random.below(model[source].count - bytes + 1)
                let to = random.below(model[target].count - bytes + 1)
                if random.below(4) == 0 {
                    let byte = UInt8(truncatingIfNeeded: random.next())
                    commands.fill(
                        Self.address(target) + UInt64(to), bytes: UInt64(bytes),
                        pattern: 0x0101_0101 * UInt32(byte))
                    model[target].withUnsafeMutableBytes { raw in
                        _ = raw.baseAddress.map { memset($0 + to, Int32(byte), bytes) }
                    }
                } else {
                    commands.copy(
                        from: Self.address(source) + UInt64(from),
                        to: Self.address(target) + UInt64(to), bytes: UInt64(bytes))
                    let piece = Array(model[source][from..<(from + bytes)])
                    model[target].withUnsafeMutableBytes { raw in
                        UnsafeMutableRawBufferPointer(rebasing: raw[to...]).copyBytes(
                            from: piece)
                    }
                }
            }
            let error = try bench.run { $0 = commands }
            try #require(error == 0, "the job failed with errno \(error)")
        }

        /// The first wrong byte of each buffer.
        func differences() throws -> [String] {
            try buffers.indices.compactMap { index in
                let found = try buffers[index].map()
                let isEqual = model[index].withUnsafeBytes { expected in
                    guard let a = expected.baseAddress, let b = found.baseAddress else {
                        return false
                    }
                    return memcmp(a, b, expected.count) == 0
                }
                if isEqual { return nil }
                let first = model[index].indices.first { model[index][$0] != found[$0] }
                return "buffer \(index) at \(first ?? -1)"
            }
        }
    }

    /// - Parameter local: How many of each VM's four buffers share its reservation.
    @Test(arguments: [0, 2, 4]) func everyByteSurvives(local: Int) throws {
        let seed = UInt64.random(in: 1...1 << 40)
        let daemon = try TestDaemon {
            $0.device.vram = 8 << 20
            $0.device.systemMemory = 64 << 20
            // A missing invalidation shows in a large TLB.
            $0.device.tlbEntries = 65_536
        }
        let observer = try daemon.connect("observer")
        let before = try daemon.counts(observer)
        let clients = try (0..<3).map { try daemon.connect("client \($0)") }
        let workers = clients.enumerated().map { number, connection in
            Worker {
                try Self.work(connection, seed: seed + UInt64(number), local: local)
            }
        }
        for worker in workers { try worker.join() }
        let memory = try observer.memoryInfo()
        #expect(memory.evictions > 20 && memory.restores > 20, "seed \(seed)")
        #expect(memory.vram.used <= 8 << 20)
        let resident = try observer.buffers().filter { $0.wanted == GPUVM_PLACE_VRAM }
        #expect(resident.reduce(0) { $0 + $1.size } >= 32 << 20)
        #expect(
            UInt64(resident.count { $0.placement == GPUVM_PLACE_VRAM })
                == memory.resident_buffers)
        #expect(
            UInt64(resident.count { $0.flags & GPUVM_BO_EVICTED != 0 })
                == memory.evicted_buffers)
        #expect(try observer.status().faults == 0, "seed \(seed)")
        for client in clients { client.close() }
        #expect(try daemon.settle(observer, to: before) == before)
        let after = try observer.memoryInfo()
        #expect(after.resident_buffers == 0 && after.evicted_buffers == 0)
    }

    /// Six VMs of 1.8 MiB and more: 11 MiB a client, 33 MiB for 8 of VRAM.
    private static func work(_ connection: Connection, seed: UInt64, local: Int) throws {
        var random = SplitMix64(seed: seed)
        let spaces = try (0..<6).map { _ in
            let sizes = (0..<4).map { _ in UInt64(118 + random.below(16)) << 12 }
            return try Space(connection, sizes: sizes, local: local, random: &random)
        }
        for _ in 0..<6 {
            for space in spaces.shuffled(using: &random) { try space.work(&random) }
        }
        for (index, space) in spaces.enumerated() {
            let wrong = try space.differences()
            #expect(wrong == [], "VM \(index), seed \(seed)")
        }
    }
}
