import Fencing

/// The jobs of a channel that have not ended, in order: what CHANNEL_FREE has to know.
///
/// The kernel has a lock around EXEC and CHANNEL_FREE (nouveau_abi16_get). Here submissions of several
/// threads overlap, but none overlaps the channel's end: ``beginSubmission()`` and ``end()`` see to that.
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
        /// Submissions that have begun and are not in `entries` yet.
        var submissions = 0
        var hasEnded = false
    }

    private let state = Guarded(.channelJobs, State())
    private let submitted = Condition()

    /// Begins a submission, which ``endSubmission()`` follows.
    ///
    /// - Returns: False if the channel has ended: no job may be submitted any more.
    func beginSubmission() -> Bool {
        state.withLock { state in
            guard !state.hasEnded else { return false }
            state.submissions += 1
            return true
        }
    }

    /// Whether the channel has ended.
    var hasEnded: Bool { state.withLock { $0.hasEnded } }

    /// Ends a submission; its job, if there is one, was appended.
    func endSubmission() {
        let isLast = state.withLock { state in
            state.submissions -= 1
            return state.submissions == 0 && state.hasEnded
        }
        if isLast { submitted.broadcast() }
    }

    /// Admits no submission from now on, and waits for those that have begun: they wait for no fence.
    func end() {
        SignallingSection.assertOutside("a wait for submissions")
        state.withLock { $0.hasEnded = true }
        _ = state.wait(on: submitted) { $0.submissions == 0 ? true : nil }
    }

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
