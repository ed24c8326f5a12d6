import Engines
import Glibc

/// One execution of a stream: how it ended, and what it left.
struct EngineRun: Equatable {
    var outcome: EngineOutcome?
    var data: [UInt8]

    static func == (left: EngineRun, right: EngineRun) -> Bool {
        // In one call: the fuzzer counts every comparison that a loop makes.
        left.outcome == right.outcome
            && left.data.withUnsafeBytes { one in
                right.data.withUnsafeBytes { other in
                    memcmp(one.baseAddress!, other.baseAddress!, min(one.count, other.count)) == 0
                }
            }
    }

    /// Long quanta, and so short that every operation is interrupted.
    static let quanta = [
        EngineQuantum(commands: 512, bytes: 1 << 16, chunkBytes: 4096),
        EngineQuantum(commands: 1, bytes: 300, chunkBytes: 13),
    ]

    /// Runs a context to its end; nil as the outcome if that takes more than `limit` quanta.
    static func outcome<Context: EngineContext>(
        of context: Context, _ quantum: EngineQuantum, limit: Int
    ) -> EngineOutcome? {
        for _ in 0..<limit {
            let outcome = context.run(quantum, shouldStop: { false })
            if outcome != .yield { return outcome }
        }
        return nil
    }

    /// Runs a stream in long quanta and in short ones, which must come to the same.
    ///
    /// - Parameter run: Resets the bench and runs the stream.
    static func check(_ bench: EngineBench, _ run: (EngineQuantum, Int) -> EngineRun) {
        let long = run(quanta[0], 12)
        bench.checkBounds(long.data)
        // A stream that goes on for ever ends nowhere in particular.
        guard long.outcome != nil else { return }
        let short = run(quanta[1], 20_000)
        bench.checkBounds(short.data)
        guard short.outcome != nil, long != short else { return }
        // Who stores the time stores another one each time.
        guard run(quanta[0], 12) == long else { return }
        if long.outcome != short.outcome {
            fuzzFailure(
                """
                long quanta: \(String(describing: long.outcome)), short ones: \
                \(String(describing: short.outcome))
                """)
        }
        fuzzFailure("memory depends on where quanta end: \(String(describing: long.outcome))")
    }
}
