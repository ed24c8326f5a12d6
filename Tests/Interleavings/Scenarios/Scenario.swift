/// A random program over one part of the software, drawn from a seed and checked while it runs.
protocol Scenario {
    /// What the command line calls it.
    static var name: String { get }
    /// Runs the program to its end; a violation ends the run through ``Run/fail(_:)``.
    static func run(_ run: Run)
}

/// The scenarios.
enum Scenarios {
    /// What `--scenario all` deals to the seeds in turn.
    static var all: [any Scenario.Type] {
        [LocksScenario.self, CoreScenario.self, DeviceScenario.self]
    }

    /// Programs with a known end, for `--self-check`.
    static var known: [any Scenario.Type] {
        [
            LostWakeUpScenario.self, LostUpdateScenario.self, LivelockScenario.self,
            SoundScenario.self,
        ]
    }

    /// Both, by index.
    static var everything: [any Scenario.Type] { all + known }

    static func index(of name: String) -> Int? { everything.firstIndex { $0.name == name } }

    /// The scenario of a seed when none was named.
    static func dealt(to seed: UInt64) -> Int { Int(seed % UInt64(all.count)) }
}
