import TestSupport

/// Wait/wound locks: bare ones with contexts, or those of several VMs through exec locking.
enum LocksScenario: Scenario {
    static let name = "locks"

    static func run(_ run: Run) {
        var random = run.random(0)
        if random.chance(3) {
            BareLocks(run, &random).execute()
        } else {
            ExecLocks(run, &random).execute()
        }
    }
}
