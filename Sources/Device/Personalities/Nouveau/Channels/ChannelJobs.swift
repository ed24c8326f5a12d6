import Fencing

/// The jobs of a channel that have not ended, in order: what CHANNEL_FREE has to know.
///
/// Threading: any thread, outside of signalling sections.
final class ChannelJobs: Sendable {
    private struct Entry {
        /// What gates the job, as far as it had not signalled when the job was submitted.
        var waits: [Fence]
        var done: Fence
    }

    private struct State {
        var entries: [Entry] = []
        var sweepAt = 64
    }

    private let state = Guarded(.channelJobs, State())

    /// Adds the job that ends with `done`. Amortised O(1).
    func append(waits: [Fence], done: Fence) {
        let entry = Entry(waits: waits.filter { !$0.isSignalled }, done: done)
        state.withLock { state in
            if state.entries.count >= state.sweepAt {
                state.entries.removeAll { $0.done.isSignalled }
                state.sweepAt = max(64, 2 * state.entries.count)
            }
            state.entries.append(entry)
        }
    }

    /// The end of the last job that nothing holds up but the jobs before it: a ring would have taken
    /// it already. Nil if all of those have ended.
    var lastReady: Fence? {
        let entries = state.withLock { $0.entries }
        var last: Fence?
        for entry in entries where !entry.done.isSignalled {
            guard entry.waits.allSatisfy(\.isSignalled) else { break }
            last = entry.done
        }
        return last
    }
}

extension LockClass {
    /// A channel's jobs; nothing is called under it.
    static let channelJobs = LockClass("channel-jobs", rank: 15, signallingSafe: false)
}
