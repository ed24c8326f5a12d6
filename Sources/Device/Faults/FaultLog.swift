import Fencing
import Synchronization

/// The last faults of the device.
///
/// A fault is entered on the signalling path, before the fence of its job signals, so that who sees
/// the fence finds the fault; there, nothing is allocated and the VM's lock is not taken. What lies
/// around the address is looked up afterwards, by whoever comes first: the job's release or a reader.
///
/// Threading: any thread.
public final class FaultLog: Sendable {
    struct Entry {
        var report: FaultReport
        /// Where the surroundings are still to be looked up; nil once they were.
        var vm: DeviceVM?
    }

    private struct State {
        var entries: [Entry] = []
        var next = 0
        var lastID: UInt64 = 0
    }

    private let capacity: Int
    private let state: Guarded<State>

    init(capacity: Int) {
        self.capacity = max(1, capacity)
        var initial = State()
        initial.entries.reserveCapacity(self.capacity)
        state = Guarded(.leaf, initial)
    }

    /// Enters a fault, in place of the oldest one if the log is full. Allocates nothing.
    ///
    /// - Returns: The fault's id.
    func enter(_ report: FaultReport, in vm: DeviceVM) -> UInt64 {
        state.withLock { state in
            state.lastID += 1
            var entry = Entry(report: report, vm: vm)
            entry.report.id = state.lastID
            if state.entries.count < capacity {
                state.entries.append(entry)
            } else {
                state.entries[state.next] = entry
                state.next = (state.next + 1) % capacity
            }
            return state.lastID
        }
    }

    /// The fault with the given id, its surroundings looked up; nil once it is forgotten.
    func complete(_ id: UInt64) -> FaultReport? {
        let found = state.withLock { state in state.entries.first { $0.report.id == id } }
        guard let found else { return nil }
        guard let vm = found.vm else { return found.report }
        var report = found.report
        vm.describeSurroundings(of: &report)
        state.withLock { state in
            guard let index = state.entries.firstIndex(where: { $0.report.id == id }) else {
                return
            }
            state.entries[index] = Entry(report: report, vm: nil)
        }
        return report
    }

    /// The faults with ids above `id`, oldest first, at most `limit`.
    public func reports(after id: UInt64, limit: Int) -> [FaultReport] {
        let ids = state.withLock { state in
            state.entries.map(\.report.id).filter { $0 > id }.sorted().prefix(limit)
        }
        return ids.compactMap { complete($0) }
    }
}
