import Fencing

/// What the ioctls of a device came to, for the summary of a run.
///
/// Threading: any thread.
public final class IoctlStatistics: Sendable {
    /// The numbers at one moment.
    public struct Counts: Sendable, Equatable {
        /// Ioctls carried out, by name of the call.
        public var served: [String: UInt64] = [:]
        /// Those of them that answered an errno.
        public var failed: [String: UInt64] = [:]
        /// Requests that nobody serves, by their 32 bits.
        public var unknown: [UInt32: UInt64] = [:]
        /// Operations of VM_BIND, by kind.
        public var bindOperations: [String: UInt64] = [:]
        /// Push buffer segments submitted.
        public var pushes: UInt64 = 0

        /// All ioctls, the unknown included.
        public var total: UInt64 {
            served.values.reduce(0, +) + unknown.values.reduce(0, +)
        }
    }

    /// The most unknown requests that are told apart.
    private static let maximumUnknown = 256
    private let counts = Guarded(.leaf, State())

    private struct State {
        var served = [UInt64](repeating: 0, count: 256)
        var failed = [UInt64](repeating: 0, count: 256)
        var unknown: [UInt32: UInt64] = [:]
        var operations: [BindOperation.Kind: UInt64] = [:]
        var pushes: UInt64 = 0
    }

    func noteCall(_ call: NouveauIoctl) {
        counts.withLock { $0.served[Int(call.rawValue)] += 1 }
    }

    func noteFailure(_ call: NouveauIoctl) {
        counts.withLock { $0.failed[Int(call.rawValue)] += 1 }
    }

    func noteUnknown(_ request: IoctlRequest) {
        counts.withLock { state in
            guard
                state.unknown[request.rawValue] != nil
                    || state.unknown.count < Self.maximumUnknown
            else { return }
            state.unknown[request.rawValue, default: 0] += 1
        }
    }

    func note(_ operations: [BindStep]) {
        var counted: [(kind: BindOperation.Kind, count: UInt64)] = []
        for index in operations.indices {
            // Neighbours are mostly of one kind.
            let kind = operations[index].kind
            if let last = counted.last, last.kind == kind {
                counted[counted.count - 1].count += 1
            } else {
                counted.append((kind, 1))
            }
        }
        counts.withLock { state in
            for (kind, count) in counted { state.operations[kind, default: 0] += count }
        }
    }

    func note(pushes: Int) { counts.withLock { $0.pushes += UInt64(pushes) } }

    /// The numbers as they are now.
    public var current: Counts {
        counts.withLock { state in
            var counts = Counts()
            for call in NouveauIoctl.allCases {
                let index = Int(call.rawValue)
                if state.served[index] != 0 { counts.served["\(call)"] = state.served[index] }
                if state.failed[index] != 0 { counts.failed["\(call)"] = state.failed[index] }
            }
            counts.unknown = state.unknown
            for (kind, count) in state.operations { counts.bindOperations["\(kind)"] = count }
            counts.pushes = state.pushes
            return counts
        }
    }
}
