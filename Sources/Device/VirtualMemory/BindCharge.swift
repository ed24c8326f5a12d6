/// What a bind job has of its client's quotas, from its submission until its fence signals.
///
/// Threading: immutable; the counters are atomic.
struct BindCharge {
    private let usage: ClientUsage
    private let operations: Int
    private let tables: Int

    /// Takes a job, its operations and the page-table pages that it has reserved.
    init(_ usage: ClientUsage, operations: Int, tables: Int) {
        self.usage = usage
        self.operations = operations
        self.tables = tables
        usage.jobsInFlight.add(1, ordering: .relaxed)
        usage.operationsInFlight.add(operations, ordering: .relaxed)
        usage.tablesReserved.add(tables, ordering: .relaxed)
    }

    /// Gives it back, once.
    func giveBack() {
        usage.jobsInFlight.subtract(1, ordering: .relaxed)
        usage.operationsInFlight.subtract(operations, ordering: .relaxed)
        usage.tablesReserved.subtract(tables, ordering: .relaxed)
    }
}
