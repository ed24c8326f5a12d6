import CInterleavings
import Fencing
import Glibc
import TestSupport

// @unchecked: threads run one at a time, and the scheduler's baton orders them.
/// One seed's run: its random numbers, its threads and its verdict.
final class Run: @unchecked Sendable {
    let seed: UInt64
    let scheduler: CooperativeScheduler
    private let result: UnsafeMutablePointer<il_result>
    private var notes: [String: UInt64] = [:]

    /// Installs the scheduler of `seed` for the rest of the process.
    init(
        seed: UInt64, isVerbose: Bool, result: UnsafeMutablePointer<il_result>
    ) {
        self.seed = seed
        self.result = result
        scheduler = CooperativeScheduler(seed: seed, isVerbose: isVerbose)
        scheduler.onFailure = { [unowned self] reason in
            Self.write(reason, to: &self.result.pointee.reason)
            self.finish(il_failed)
        }
        Runtime.install(scheduler)
    }

    /// Runs one request to its end, in a process of its own.
    static func execute(_ request: il_request) -> Never {
        guard let result = il_result_of(request.slot) else { il_exit(2) }
        let run = Run(seed: request.seed, isVerbose: request.is_verbose != 0, result: result)
        Scenarios.everything[Int(request.scenario)].run(run)
        run.pass()
    }

    /// The run did what it should.
    func pass() -> Never { finish(il_passed) }

    /// The run is a failure: the parent shows the reason and how to repeat it.
    func fail(_ reason: String) -> Never { scheduler.fail(reason) }

    /// Fails unless the condition holds.
    func require(
        _ condition: Bool, _ what: @autoclosure () -> String, line: Int = #line,
        file: StaticString = #fileID
    ) {
        if !condition { fail("\(what()) (\(file):\(line))") }
    }

    /// A sequence of the seed's own for each purpose, so that a thread's program does not depend on
    /// the interleaving.
    func random(_ purpose: UInt64) -> SplitMix64 {
        SplitMix64(seed: seed &* 0x9e37_79b9 ^ purpose &* 0xd1b5_4a32_d192_ed03)
    }

    /// Counts something, for the verdict: what runs have exercised.
    func count(_ name: String, _ amount: UInt64 = 1) { notes[name, default: 0] += amount }

    /// Starts `count` threads and returns when all have ended.
    func threads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
        let started = (0..<count).compactMap { index in
            RuntimeThread.start(name: "client\(index)") { body(index) }
        }
        for thread in started { thread.join() }
    }

    private func finish(_ verdict: il_verdict) -> Never {
        Self.write(scheduler.strategyName, to: &result.pointee.strategy)
        result.pointee.points = scheduler.points
        result.pointee.switches = scheduler.switches
        result.pointee.trace_hash = scheduler.traceHash
        result.pointee.clock = scheduler.time
        withUnsafeMutableBytes(of: &result.pointee.notes) { values in
            withUnsafeMutableBytes(of: &result.pointee.note_names) { names in
                let sorted = notes.sorted { $0.key < $1.key }.prefix(Int(IL_NOTES))
                for (index, note) in sorted.enumerated() {
                    values.storeBytes(of: note.value, toByteOffset: index * 8, as: UInt64.self)
                    let place = names[(index * Int(IL_NAME_BYTES))...].prefix(Int(IL_NAME_BYTES))
                    Self.write(note.key, to: UnsafeMutableRawBufferPointer(rebasing: place))
                }
            }
        }
        result.pointee.verdict = verdict.rawValue
        il_exit(verdict == il_passed ? 0 : 1)
    }

    private static func write<Text>(_ text: String, to field: inout Text) {
        withUnsafeMutableBytes(of: &field) { write(text, to: $0) }
    }

    private static func write(_ text: String, to bytes: UnsafeMutableRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        il_copy_text(base.assumingMemoryBound(to: CChar.self), bytes.count, text)
    }
}

extension SplitMix64 {
    /// A number of `0..<bound`.
    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }

    /// True once in `oneIn` draws on average.
    mutating func chance(_ oneIn: Int) -> Bool { below(oneIn) == 0 }
}
