import Fencing
import GPUVMClient
import Glibc
import WireProtocol

/// Latencies of one thing done many times, ns.
struct Latencies {
    private let sorted: [UInt64]

    init(_ samples: [UInt64]) { sorted = samples.sorted() }

    var count: Int { sorted.count }
    var median: UInt64 { percentile(50) }

    /// The value that `percent` of the samples do not exceed.
    func percentile(_ percent: Int) -> UInt64 {
        sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, sorted.count * percent / 100)]
    }

    var text: String {
        """
        median \(Text.pad(Text.microseconds(median), 10)), p99 \
        \(Text.pad(Text.microseconds(percentile(99)), 11)), worst \
        \(Text.pad(Text.microseconds(sorted.last ?? 0), 11))  (\(count) samples)
        """
    }
}

/// The latency of a good client: binds and copies at the pace of a program that draws.
struct LatencyTrial {
    /// Between two operations: some hundred in a second.
    private static let pauseMicroseconds: UInt32 = 2000

    let binds, copies: Latencies

    /// Measures for `seconds`; every tenth operation is a copy whose bytes are compared.
    init(_ good: GoodClient, seconds: Int) throws {
        var binds: [UInt64] = []
        var copies: [UInt64] = []
        let end = Runtime.deadline(after: UInt64(seconds) * 1_000_000_000)
        while Runtime.now() < end {
            for _ in 0..<9 {
                binds.append(try good.bindAndWait())
                usleep(Self.pauseMicroseconds)
            }
            copies.append(try good.copyAndCompare())
            usleep(Self.pauseMicroseconds)
        }
        self.binds = Latencies(binds)
        self.copies = Latencies(copies)
    }
}
