import Fencing

/// The ranges of a VM's bind jobs that have not executed yet; behind the VM's lock.
///
/// A job of another queue whose range overlaps gets a dependency on the older one, because the VA
/// tree already shows the older one's result while the page tables do not. Jobs of one queue are in
/// order anyway. Tables need no such dependency: each job brings what it may need, and whichever
/// comes first under the page table's lock installs it.
struct PendingBinds {
    private struct Entry {
        var queue: UInt64
        var fence: Fence
        var coverage: AddressRanges
    }

    private var entries: [Entry] = []

    /// The number of jobs that have not executed.
    var count: Int { entries.count { !$0.fence.isSignalled } }

    /// Calls `body` with the fence of each pending job of another queue that overlaps `coverage`.
    ///
    /// Complexity: O(pending jobs + the ranges of those that lie near); finished jobs are forgotten
    /// first.
    mutating func forEachDependency(
        of coverage: AddressRanges, queue: UInt64, _ body: (Fence) -> Void
    ) {
        entries.removeAll { $0.fence.isSignalled }
        for entry in entries where entry.queue != queue {
            if coverage.overlaps(entry.coverage) { body(entry.fence) }
        }
    }

    mutating func append(queue: UInt64, fence: Fence, coverage: AddressRanges) {
        entries.append(Entry(queue: queue, fence: fence, coverage: coverage))
    }
}
