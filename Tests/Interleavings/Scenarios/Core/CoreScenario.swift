import TestSupport

/// The VA space under threads: transactions of a normal VM, or an immediate-mode VM that jobs change
/// on the signalling path, with memory management and walks beside.
enum CoreScenario: Scenario {
    static let name = "core"

    static func run(_ run: Run) {
        var random = run.random(0)
        if random.chance(3) {
            TransactionCore(run, &random).execute()
        } else {
            ImmediateCore(run, &random).execute()
        }
    }
}
