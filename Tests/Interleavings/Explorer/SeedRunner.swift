import CInterleavings
import Glibc

/// What became of one seed.
struct SeedOutcome {
    var seed: UInt64
    var scenario: String
    var strategy: String
    /// Nil if the run passed.
    var failure: String?
    var hash: UInt64
    var points: UInt64
    var switches: UInt64
    var notes: [String: UInt64]
}

/// Runs seeds in forked processes, so that each begins with the same state, and that a trap, a hang
/// or a leak is one seed's.
struct SeedRunner {
    private let options: Options
    /// The seed that each slot runs.
    private var running: [UInt64?]

    init(_ options: Options) {
        self.options = options
        let jobs = options.jobs > 0 ? options.jobs : Int(il_cpu_count())
        running = Array(repeating: nil, count: min(jobs, Int(IL_SLOTS)))
    }

    /// Runs the seeds and hands each outcome over, in no order, until `consume` returns false.
    mutating func run(
        _ seeds: some Sequence<UInt64>, _ consume: (SeedOutcome) -> Bool
    ) {
        var pending = seeds.makeIterator()
        var goesOn = true
        for slot in running.indices {
            guard let seed = pending.next() else { break }
            start(seed, in: slot)
        }
        while running.contains(where: { $0 != nil }) {
            var ended = il_ended()
            let error = il_wait_run(&ended)
            guard error == 0 else { Self.give(up: "wait", error) }
            let slot = Int(ended.slot)
            guard let seed = running[slot] else { continue }
            running[slot] = nil
            if !consume(outcome(of: seed, in: ended.slot, status: ended.status)) { goesOn = false }
            if goesOn, let seed = pending.next() { start(seed, in: slot) }
        }
    }

    private mutating func start(_ seed: UInt64, in slot: Int) {
        var request = il_request()
        request.seed = seed
        request.scenario = UInt32(scenario(of: seed))
        request.slot = UInt32(slot)
        request.seconds = options.secondsPerSeed
        request.is_replay = options.replay == nil ? 0 : 1
        request.is_verbose = options.replay != nil && options.isVerbose ? 1 : 0
        running[slot] = seed
        let error = il_start_run(&request)
        guard error == 0 else { Self.give(up: "start", error) }
    }

    private static func give(up what: String, _ error: Int32) -> Never {
        il_complain("\(what): \(String(cString: strerror(-error)))")
        exit(2)
    }

    private func scenario(of seed: UInt64) -> Int {
        options.scenario.flatMap { Scenarios.index(of: $0) } ?? Scenarios.dealt(to: seed)
    }

    private func outcome(of seed: UInt64, in slot: UInt32, status: Int32) -> SeedOutcome {
        guard let result = il_result_of(slot) else { Self.give(up: "result", EINVAL) }
        var failure: String?
        switch result.pointee.verdict {
        case il_passed.rawValue where status == 0: break
        case il_failed.rawValue: failure = Self.text(&result.pointee.reason)
        default:
            let why =
                status == 256 + SIGALRM
                ? "no end within \(options.secondsPerSeed) s"
                : status > 256 ? "ended by signal \(status - 256)" : "ended with \(status)"
            failure = "\(why)\n\(Self.readLog(slot))"
        }
        return SeedOutcome(
            seed: seed, scenario: Scenarios.everything[scenario(of: seed)].name,
            strategy: Self.text(&result.pointee.strategy), failure: failure,
            hash: result.pointee.trace_hash, points: result.pointee.points,
            switches: result.pointee.switches, notes: Self.notes(&result.pointee))
    }

    private static func notes(_ result: inout il_result) -> [String: UInt64] {
        var notes: [String: UInt64] = [:]
        withUnsafeBytes(of: &result.notes) { values in
            withUnsafeBytes(of: &result.note_names) { names in
                for note in 0..<Int(IL_NOTES) {
                    let bytes = names[(note * Int(IL_NAME_BYTES))...].prefix { $0 != 0 }
                    guard !bytes.isEmpty else { break }
                    notes[String(decoding: bytes, as: UTF8.self)] =
                        values.loadUnaligned(fromByteOffset: note * 8, as: UInt64.self)
                }
            }
        }
        return notes
    }

    private static func text<Field>(_ field: inout Field) -> String {
        withUnsafeBytes(of: &field) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    private static func readLog(_ slot: UInt32) -> String {
        var bytes = [CChar](repeating: 0, count: 4096)
        let count = il_read_log(slot, &bytes, bytes.count)
        return String(decoding: bytes.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
