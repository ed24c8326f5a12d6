import Synchronization

/// What of its quotas a client has in use, beside its handle tables, and what it has asked for.
///
/// Threading: atomics; shared by the client and its jobs, so that a job needs to keep no client.
final class ClientUsage: Sendable {
    let jobsInFlight = Atomic<Int>(0)
    /// Bind operations of those jobs.
    let operationsInFlight = Atomic<Int>(0)
    let mappings = Atomic<Int>(0)
    let bufferBytes = Atomic<UInt64>(0)
    let buffers = Atomic<Int>(0)
    /// Page-table pages that jobs in flight have reserved.
    let tablesReserved = Atomic<Int>(0)
    let requests = Atomic<UInt64>(0)
    let failedRequests = Atomic<UInt64>(0)
}
