import PageTables

/// What is to happen to one job of an exec queue, decided when it was submitted.
struct JobInjection: Sendable {
    /// A page fault in the place of the job's first command.
    struct PageFault: Sendable {
        /// The rule's id.
        var rule: UInt32
        /// The GPU virtual address.
        var address: UInt64
        var access: AccessKind
    }

    /// Whether it never ends.
    var hangs = false
    var fault: PageFault?
    /// How long after its end its fence signals, ns.
    var signalDelay: UInt64 = 0
    /// Set at its end: CLOCK_MONOTONIC ns from which on the fence may signal.
    var signalsAt: UInt64 = 0

    /// How often a job that waits for nothing in memory is looked at: seldom, ns. A scheduler may have
    /// its own idea of the longest wait.
    static let recheck: UInt64 = 1_000_000_000
}
