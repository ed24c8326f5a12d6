import CInterleavings
import Glibc

/// Explores many seeds and reports.
struct Explorer {
    private let options: Options
    private var failures: [SeedOutcome] = []
    private var finished: UInt64 = 0
    private var points: UInt64 = 0
    private var switches: UInt64 = 0
    private var digest: UInt64 = 0
    private var seedsByStrategy: [String: Int] = [:]
    private var notes: [String: [String: UInt64]] = [:]
    /// With `--twice`: the hash of the first of the two runs.
    private var hashes: [UInt64: UInt64] = [:]

    init(_ options: Options) { self.options = options }

    /// - Returns: The exit status: 0 if every seed passed.
    mutating func explore() -> Int32 {
        var runner = SeedRunner(options)
        let start = Self.seconds()
        let (first, count, times) = (options.first, options.seeds, options.runsTwice ? 2 : 1)
        let seeds = (first..<(first + count)).lazy.flatMap { seed in
            repeatElement(seed, count: times)
        }
        runner.run(seeds) { outcome in
            record(outcome)
            return failures.count < options.failureLimit
        }
        let elapsed = max(Self.seconds() - start, 0.001)
        report(elapsed)
        il_write_coverage()
        return failures.isEmpty ? 0 : 1
    }

    /// Runs one seed, with its events on stderr.
    static func replay(_ options: Options, seed: UInt64) -> Int32 {
        var runner = SeedRunner(options)
        var status: Int32 = 0
        runner.run(CollectionOfOne(seed)) { outcome in
            print(
                "seed \(seed) scenario \(outcome.scenario) strategy \(outcome.strategy):",
                outcome.failure.map { "FAIL: \($0)" } ?? "pass")
            print(
                "hash \(String(outcome.hash, radix: 16)), \(outcome.points) points,",
                "\(outcome.switches) switches")
            for note in outcome.notes.sorted(by: { $0.key < $1.key }) {
                print("  \(note.key): \(note.value)")
            }
            status = outcome.failure == nil ? 0 : 1
            return true
        }
        return status
    }

    private mutating func record(_ outcome: SeedOutcome) {
        finished += 1
        points += outcome.points
        switches += outcome.switches
        digest &+= outcome.hash &* (outcome.seed &* 2 &+ 1)
        seedsByStrategy[outcome.strategy, default: 0] += 1
        notes[outcome.scenario, default: [:]].merge(outcome.notes) { $0 + $1 }
        var outcome = outcome
        if options.runsTwice {
            if let other = hashes[outcome.seed] {
                hashes[outcome.seed] = nil
                if other != outcome.hash { outcome.failure = "two runs, two interleavings" }
            } else {
                hashes[outcome.seed] = outcome.hash
            }
        }
        if let failure = outcome.failure {
            failures.append(outcome)
            let name = options.scenario ?? "all"
            print(
                "seed \(outcome.seed) (\(outcome.scenario), \(outcome.strategy)): FAIL: \(failure)")
            // A trap says nothing by itself in a release build.
            let report = outcome.strategy.isEmpty ? "SWIFT_BACKTRACE=enable=yes " : ""
            print(
                "replay: \(report)\(CommandLine.arguments[0]) --scenario \(name)",
                "--seed \(outcome.seed)")
            fflush(nil)
        }
        if finished % 2000 == 0 {
            print("  \(finished) runs, \(failures.count) failures")
            fflush(nil)
        }
    }

    private func report(_ elapsed: Double) {
        for (scenario, counts) in notes.sorted(by: { $0.key < $1.key }) where !counts.isEmpty {
            let text = counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
            print("  \(scenario): \(text.joined(separator: ", "))")
        }
        let strategies = seedsByStrategy.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
        print("  strategies: \(strategies.joined(separator: ", "))")
        let rate = Int(Double(finished) / elapsed)
        print(
            "interleavings: \(failures.isEmpty ? "PASS" : "FAIL"): \(finished) runs of",
            "\(options.runsTwice ? finished / 2 : finished) seeds from \(options.first),",
            "\(failures.count) failures,",
            "\(points) scheduling points, \(switches) switches, \(Int(elapsed)) s, \(rate) runs/s,",
            "digest \(String(digest, radix: 16))",
            il_has_fixed_addresses() != 0 ? "" : "(addresses vary from process to process)")
    }

    static func seconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
