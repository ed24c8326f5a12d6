import Device
import Engines
import Fencing

/// What ioctls were answered, call by call and errno by errno, and which engine methods were refused.
///
/// Replies are entered on the signalling path: nothing is allocated there.
///
/// Threading: any thread.
final class CallLedger: Sendable {
    /// One counter.
    struct Entry: Sendable, Equatable {
        /// What is counted; for a refused method `class << 16 | method`.
        var number: UInt32
        /// The errno answered; 0 for success.
        var error: Int32
        var count: UInt64 = 1
        /// Of a method, where it has one; a call's is looked up when it is shown.
        var name = ""
    }

    /// The most counters; what else there is is counted together.
    static let capacity = 512
    /// The number of the counter for all that there was no room for.
    static let others = UInt32.max

    private struct State {
        /// Successful DRM calls by `_IOC_NR`, which need no search; empty once the ledger is compact.
        var successes = [UInt64](repeating: 0, count: 256)
        var calls: [Entry] = []
        var refusals: [Entry] = []
        var total: UInt64 = 0
        var failed: UInt64 = 0
    }

    private let state: Guarded<State>

    init() {
        var initial = State()
        initial.calls.reserveCapacity(Self.capacity)
        initial.refusals.reserveCapacity(Self.capacity)
        state = Guarded(.leaf, initial)
    }

    /// Gives back the room that was kept so that nothing is allocated while calls are answered: for
    /// when the last one has been. What is noted later is counted all the same.
    func compact() {
        state.withLock { state in
            state.calls = Self.entries(state.successes) + state.calls
            state.successes = []
            state.refusals = state.refusals.map { $0 }
        }
    }

    /// Takes note of a reply; `result` is what ioctl(2) returns, or -errno.
    func note(_ request: IoctlRequest, result: Int32) {
        state.withLock { state in
            state.total += 1
            if result < 0 { state.failed += 1 }
            let key = IoctlName.key(request)
            if result >= 0, key >> 8 == 0x64, !state.successes.isEmpty {
                state.successes[Int(key & 0xff)] += 1
            } else {
                Self.add(UInt32(key), min(0, result).magnitudeAsErrno, to: &state.calls)
            }
        }
    }

    /// Takes note of a job that a method ended which no engine carries out.
    func noteRefusal(_ method: NVIDIAMethod) {
        state.withLock { state in
            Self.add(
                UInt32(method.classID) << 16 | UInt32(method.method), 0,
                name: method.name ?? "", to: &state.refusals)
        }
    }

    /// The ioctls answered, and those of them with an errno.
    var totals: (ioctls: UInt64, failed: UInt64) {
        state.withLock { ($0.total, $0.failed) }
    }

    /// The ioctls, by number and errno.
    var calls: [Entry] {
        state.withLock { state in
            (Self.entries(state.successes) + state.calls).sorted {
                ($0.number, $0.error) < ($1.number, $1.error)
            }
        }
    }

    /// The refused methods.
    var refusals: [Entry] {
        state.withLock { $0.refusals }.sorted { $0.number < $1.number }
    }

    private static func entries(_ successes: [UInt64]) -> [Entry] {
        successes.enumerated().filter { $0.element != 0 }.map {
            Entry(number: 0x6400 | UInt32($0.offset), error: 0, count: $0.element)
        }
    }

    private static func add(
        _ number: UInt32, _ error: Int32, name: String = "", to entries: inout [Entry]
    ) {
        if let index = entries.firstIndex(where: { $0.number == number && $0.error == error }) {
            entries[index].count += 1
        } else if entries.count < capacity - 1 {
            entries.append(Entry(number: number, error: error, name: name))
        } else if let last = entries.firstIndex(where: { $0.number == others }) {
            entries[last].count += 1
        } else {
            entries.append(Entry(number: others, error: 0))
        }
    }
}

extension Int32 {
    /// The errno in a result of 0 or below.
    fileprivate var magnitudeAsErrno: Int32 { self == .min ? .max : -self }
}
