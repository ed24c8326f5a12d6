import Fencing

/// The waits of a file that fire eventfds.
///
/// Threading: any thread, also inside of a `SignallingSection`.
final class EventWaits: Sendable {
    private struct State {
        /// Nil between the reservation of a key and the start of its wait.
        var waits: [UInt64: SyncobjWait?] = [:]
        var last: UInt64 = 0
        var isClosed = false
    }

    private let state = Guarded(.eventWaits, State())

    /// A key for a wait that is about to start.
    func reserve() -> UInt64 {
        state.withLock { state in
            state.last += 1
            state.waits[state.last] = .some(nil)
            return state.last
        }
    }

    /// Keeps a wait until it completes, or cancels it if the file is closed.
    func keep(_ wait: SyncobjWait, as key: UInt64) {
        let isClosed = state.withLock { state in
            // Absent: it has completed already.
            if state.waits[key] != nil { state.waits[key] = .some(wait) }
            return state.isClosed
        }
        if isClosed { wait.cancel() }
    }

    /// Forgets a wait that has completed.
    func finish(_ key: UInt64) {
        // The wait is let go of after the lock.
        let finished = state.withLock { $0.waits.removeValue(forKey: key) }
        withExtendedLifetime(finished) {}
    }

    /// Cancels all, and those that are to come.
    func close() {
        let waits = state.withLock { state in
            state.isClosed = true
            defer { state.waits = [:] }
            return state.waits.values.compactMap { $0 }
        }
        for wait in waits { wait.cancel() }
    }
}

extension LockClass {
    /// A file's eventfd waits: completions take it on the signalling path.
    static let eventWaits = LockClass("event-waits", rank: 97, signallingSafe: true)
}
