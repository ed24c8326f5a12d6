import CHostileClients
import GPUVMClient
import TestSupport

/// A client that works until it is killed, or for so many rounds.
enum Worker {
    /// SOCKET SEED [ROUNDS]
    static func run(_ words: [String]) throws {
        guard words.count >= 2, let seed = UInt64(words[1]) else {
            throw Failure("work takes a socket and a seed")
        }
        hostile_die_with_parent()
        let rounds = words.count > 2 ? Int(words[2]) ?? 0 : Int.max
        var random = SplitMix64(seed: seed)
        let client = try GoodClient(words[0], name: "worker-\(seed)", seed: seed)
        let line = try client.connection.makeSyncobj()
        for round in 1...max(1, rounds) {
            for _ in 0..<Int(random.next() % 8) { _ = try client.bindAndWait() }
            _ = try client.copyAndCompare()
            // What a dying client leaves: mappings, buffers, unsignalled waits, exported fds.
            let buffer = try client.connection.makeBuffer(
                size: 4096 << (random.next() % 8),
                placement: random.next() & 1 == 0 ? .vram : .system)
            let address = 0x10_0000_0000 + (random.next() % 4096) << 21
            try client.vm.bindAsync(
                [.map(buffer, at: address, range: buffer.size)],
                signals: [line.point(UInt64(round))])
            _ = try line.export()
            let other = try client.vm.makeQueue(.copy, instance: UInt16(random.next() & 1))
            try other.exec(
                [], waits: [line.point(UInt64(round))], signals: [line.point(UInt64(round) + 1)])
            if random.next() & 1 == 0 { try other.close() }
            if random.next() % 4 == 0 {
                try client.vm.bind([.unmap(at: 0x10_0000_0000, range: 4096 << 21)])
            }
            if random.next() & 1 == 0 { try buffer.close() }
        }
    }
}
