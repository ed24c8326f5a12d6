/// Runs the programs of which it is known how they end: proves that deadlocks, races and livelocks
/// are found, that sound programs pass, and that a seed repeats its interleaving.
enum SelfCheck {
    private static let seeds: UInt64 = 200

    /// - Returns: The exit status.
    static func run(_ options: Options) -> Int32 {
        var complaints: [String] = []
        // What must fail in some interleavings, what in all, what in none.
        let expected: [(any Scenario.Type, ClosedRange<Int>, String)] = [
            (LostWakeUpScenario.self, 1...Int(seeds) - 1, "deadlock"),
            (LostUpdateScenario.self, 1...Int(seeds) - 1, "an update was lost"),
            (SoundScenario.self, 0...0, ""),
            (LivelockScenario.self, 4...4, "livelock"),
        ]
        for (scenario, allowed, reason) in expected {
            var options = options
            options.scenario = scenario.name
            let count = allowed == 4...4 ? 4 : seeds
            var runner = SeedRunner(options)
            var failures = 0
            var hashes: [UInt64: UInt64] = [:]
            var interleavings: Set<UInt64> = []
            runner.run((0..<count).lazy.flatMap { repeatElement($0, count: 2) }) { outcome in
                interleavings.insert(outcome.hash)
                guard let first = hashes[outcome.seed] else {
                    hashes[outcome.seed] = outcome.hash
                    return true
                }
                if first != outcome.hash {
                    complaints.append("\(scenario.name): seed \(outcome.seed) does not repeat")
                }
                if let failure = outcome.failure {
                    failures += 1
                    if !failure.contains(reason) || reason.isEmpty {
                        complaints.append("\(scenario.name): \(failure)")
                    }
                }
                return true
            }
            if !allowed.contains(failures) {
                complaints.append("\(scenario.name): \(failures) of \(count) seeds fail")
            }
            print(
                "  \(scenario.name): \(failures) of \(count) seeds fail,",
                "\(interleavings.count) interleavings")
        }
        for complaint in complaints { print("  \(complaint)") }
        print("interleavings self-check: \(complaints.isEmpty ? "PASS" : "FAIL")")
        return complaints.isEmpty ? 0 : 1
    }
}
