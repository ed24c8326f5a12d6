import Fencing

// @unchecked: threads of a run take turns.
/// What a reservation's fences should be: a list that is changed under the reservation's lock.
final class FenceModel: @unchecked Sendable {
    private var entries: [(fence: Fence, usage: FenceUsage, isRequired: Bool)] = []

    func add(_ fence: Fence, _ usage: FenceUsage) {
        entries.removeAll { $0.fence.isSignalled }
        // A later fence of a context stands for the earlier ones, unless those bind more waiters.
        // It takes the place of one of them; others may stay.
        for index in entries.indices
        where entries[index].fence.context == fence.context && entries[index].usage >= usage {
            entries[index].isRequired = false
        }
        entries.append((fence, usage, true))
    }

    /// Compares with the reservation, whose lock the caller holds; fences may signal meanwhile.
    func check(_ reservation: Reservation, _ run: Run) {
        for usage in FenceUsage.allCases {
            let found = reservation.fences(usage)
            for fence in found {
                run.require(
                    entries.contains { $0.fence === fence && $0.usage <= usage },
                    "a fence that was not added for \(usage)")
            }
            for entry in entries
            where entry.isRequired && entry.usage <= usage && !entry.fence.isSignalled {
                run.require(
                    found.contains { $0 === entry.fence },
                    "a fence of usage \(entry.usage) is missing for \(usage)")
            }
        }
    }
}
