import CWireProtocol
import Fencing
import GPUVMClient
import Glibc
import TestSupport
import WireProtocol

/// Attacks on what the daemon has little of: descriptors, connections, memory, disk.
enum ResourceAttempts {
    static let all = [
        Attempt(name: "2000 connections, and as many again", run: flood),
        Attempt(name: "kill -9 at every moment", run: killAtEveryMoment),
        Attempt(name: "all quotas at their limits, by three clients", run: fillEverything),
    ]

    private static func flood(_ daemon: DaemonUnderTest, _ tally: Tally) throws {
        for _ in 0..<2 {
            var held: [RawConnection] = []
            for _ in 0..<2000 {
                tally.attempt { held.append(try RawConnection(daemon.socket)) }
            }
            // Those beyond max_clients are closed, which the client learns from its first call.
            var open = 0
            for raw in held {
                do {
                    if try raw.hello("flood") == 0 { open += 1 }
                } catch {}
            }
            for _ in 0..<open { tally.note("served") }
            for _ in 0..<(held.count - open) { tally.note("closed") }
            guard open < 256 else { throw Failure("\(open) clients at a time, of 256") }
        }
    }

    private static func killAtEveryMoment(
        _ daemon: DaemonUnderTest, _ tally: Tally
    ) throws {
        var random = SplitMix64(seed: 0x9111)
        for round in 0..<12 {
            let children = try (0..<8).map { index in
                try Child([Child.own, "work", daemon.socket, "\(round * 8 + index)"])
            }
            // From before the first message to the middle of the work.
            for child in children {
                usleep(UInt32(random.next() % 30_000))
                child.kill()
                tally.note("killed")
            }
        }
    }

    private static func fillEverything(_ daemon: DaemonUnderTest, _ tally: Tally) throws {
        let clients = try (0..<3).map {
            try Connection.connect(path: daemon.socket, name: "greedy-\($0)")
        }
        for connection in clients {
            var first = 0
            func fill(_ limit: Int, _ make: () throws -> Void) {
                let before = tally.count("ok")
                for _ in 0..<limit {
                    let count = tally.count("ok")
                    tally.attempt(make)
                    if tally.count("ok") == count { break }
                }
                first = max(first, tally.count("ok") - before)
            }
            var vms: [VM] = []
            fill(100_000) { _ = try connection.makeBuffer(size: 64 << 20) }
            fill(100_000) { _ = try connection.makeBuffer(size: 4096) }
            fill(100_000) { vms.append(try connection.makeVM(range: 1 << 47)) }
            guard let vm = vms.first else { continue }
            fill(100_000) { _ = try vm.makeQueue(.copy) }
            fill(100_000) { _ = try connection.makeSyncobj() }
            var address: UInt64 = 0
            // A table of its own for each.
            fill(200) {
                try vm.bind(
                    (0..<1000).map { _ in
                        address += 1 << 30
                        return .mapNull(at: address, range: 4096)
                    })
            }
            guard first > 0 else { throw Failure("a client got nothing at all") }
        }
    }
}
