import Synchronization

// @unchecked: `observers` is guarded by `lock`; the progress is atomic.
/// How far one context of ``FenceChain`` nodes has come, and which sync objects show it.
///
/// A context is a line: its nodes have rising points and one successor each. So one number says
/// which of them have signalled.
///
/// Threading: any thread.
final class ChainTimeline: @unchecked Sendable {
    let context = FenceContext().id
    private let value = Atomic<UInt64>(0)
    private let failure = Atomic<Int32>(0)
    private let lock = Lock(.leaf)
    private var observers: [Observer] = []

    private struct Observer {
        weak var syncobj: Syncobj?
    }

    /// The highest point that has signalled together with all before it.
    var signalledPoint: UInt64 { value.load(ordering: .acquiring) }

    /// The errno of the last point that failed; 0 for none.
    var lastError: Int32 { failure.load(ordering: .relaxed) }

    /// Raises the signalled point; false if it was there already.
    func advance(to point: UInt64, error: Int32) -> Bool {
        if error != 0 { failure.store(error, ordering: .relaxed) }
        var current = value.load(ordering: .relaxed)
        while current < point {
            let (done, seen) = value.weakCompareExchange(
                expected: current, desired: point, successOrdering: .acquiringAndReleasing,
                failureOrdering: .relaxed)
            if done { return true }
            current = seen
        }
        return false
    }

    /// Has the fence pages of `syncobj` rewritten on progress.
    func addObserver(_ syncobj: Syncobj) {
        lock.withLock {
            // An entry never moves, so that a running ``notify()`` misses nobody.
            if let free = observers.firstIndex(where: { $0.syncobj == nil }) {
                observers[free].syncobj = syncobj
            } else {
                observers.append(Observer(syncobj: syncobj))
            }
        }
    }

    func removeObserver(_ syncobj: Syncobj) {
        lock.withLock {
            if let index = observers.firstIndex(where: { $0.syncobj === syncobj }) {
                observers[index].syncobj = nil
            }
        }
    }

    /// Rewrites the fence pages of all observers; called without locks.
    func notify() {
        var index = 0
        while true {
            var isEnd = false
            let syncobj: Syncobj? = lock.withLock {
                guard index < observers.count else {
                    isEnd = true
                    return nil
                }
                return observers[index].syncobj
            }
            if isEnd { return }
            syncobj?.refreshMirrors()
            index += 1
        }
    }
}
