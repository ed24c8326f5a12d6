import Fencing
import Synchronization

/// The rules by which faults happen on purpose, and what they have done.
///
/// Without rules a request pays one relaxed load. With them it asks each rule that concerns it, in
/// the order of their making; each counts for itself the requests that it meets. Where one of a kind
/// fires, later ones of that kind do not meet the request.
///
/// Threading: any thread, outside of signalling sections. Nothing is called under its lock.
public final class FaultInjector: Sendable {
    /// The most rules that are remembered, those that have had their times included.
    public static let maximumRules = 64
    /// Firings that are remembered.
    public static let maximumFirings = 256

    /// A rule that fires at a request, before it is known whether the request comes to anything.
    struct Decision {
        var id: UInt32
        var rule: InjectionRule
        /// From 1.
        var ordinal: UInt64
    }

    private struct State {
        var rules: [InjectionStatus] = []
        var lastRule: UInt32 = 0
        var firings: [InjectionFiring] = []
        var nextFiring = 0
        var lastFiring: UInt64 = 0
    }

    private let state = Guarded(.injection, State())
    /// The operations that some rule meets.
    private let concerned = Atomic<UInt32>(0)

    init() {}

    /// Whether any rule meets requests of this kind.
    @inline(__always)
    func concerns(_ operation: InjectionOperations) -> Bool {
        concerned.load(ordering: .relaxed) & operation.rawValue != 0
    }

    // MARK: rules

    /// All rules that are remembered, by id.
    public var rules: [InjectionStatus] { state.withLock { $0.rules } }

    /// The last firings with ids above `id`, oldest first.
    public func firings(after id: UInt64 = 0) -> [InjectionFiring] {
        state.withLock { $0.firings }.filter { $0.id > id }.sorted { $0.id < $1.id }
    }

    /// Makes a rule, in the place of one that has had its times if there are too many.
    ///
    /// - Throws: EAGAIN when all that may be are active.
    func add(_ rule: InjectionRule, at time: UInt64) throws(DeviceError) -> UInt32 {
        try state.withLock { state throws(DeviceError) in
            if state.rules.count >= Self.maximumRules {
                guard let spent = state.rules.firstIndex(where: { !$0.isActive }) else {
                    throw .tooManyRules(limit: Self.maximumRules)
                }
                state.rules.remove(at: spent)
            }
            state.lastRule += 1
            state.rules.append(
                InjectionStatus(id: state.lastRule, rule: rule, created: time))
            publish(state)
            return state.lastRule
        }
    }

    /// Forgets a rule, or all; what they have done already goes on.
    ///
    /// - Returns: How many there were.
    func remove(_ id: UInt32?) -> Int {
        state.withLock { state in
            let before = state.rules.count
            state.rules.removeAll { id == nil || $0.id == id }
            publish(state)
            return before - state.rules.count
        }
    }

    private func publish(_ state: borrowing State) {
        let all = state.rules.reduce(into: InjectionOperations()) {
            if $1.isActive { $0.formUnion($1.rule.operations) }
        }
        concerned.store(all.rawValue, ordering: .relaxed)
    }

    // MARK: requests

    /// What is to happen to a request, at most one of each kind.
    ///
    /// - Parameters:
    ///   - vm: The VM's device-wide id; 0 for a request that is about none.
    ///   - queue: The queue's device-wide id; 0 for a request that is about none.
    ///   - hasCommands: Whether an engine would execute anything: what it does not execute neither
    ///     hangs nor faults.
    func decide(
        _ kinds: Set<InjectionKind>, at operation: InjectionOperations, of client: Client,
        vm: UInt32 = 0, queue: UInt32 = 0, hasCommands: Bool = true
    ) -> [Decision] {
        state.withLock { state in
            var decisions: [Decision] = []
            for index in state.rules.indices {
                let rule = state.rules[index].rule
                guard state.rules[index].isActive, kinds.contains(rule.kind),
                    rule.operations.contains(operation),
                    hasCommands || (rule.kind != .hang && rule.kind != .fault),
                    rule.target.matches(client, vm: vm, queue: queue),
                    !decisions.contains(where: { $0.rule.kind == rule.kind })
                else { continue }
                let ordinal = state.rules[index].seen
                state.rules[index].seen += 1
                guard rule.schedule.fires(at: ordinal) else { continue }
                state.rules[index].fired += 1
                decisions.append(
                    Decision(id: state.rules[index].id, rule: rule, ordinal: ordinal + 1))
            }
            if !decisions.isEmpty { publish(state) }
            return decisions
        }
    }

    /// The request came to nothing for another reason: its firings are still to come.
    func withdraw(_ decisions: [Decision]) {
        guard !decisions.isEmpty else { return }
        state.withLock { state in
            for decision in decisions {
                guard let index = state.rules.firstIndex(where: { $0.id == decision.id }) else {
                    continue
                }
                state.rules[index].fired -= 1
            }
            publish(state)
        }
    }

    /// Remembers a firing that has taken effect.
    ///
    /// - Parameter isNow: Whether it is of a rule that met no request, and so was not counted yet.
    /// - Returns: The same with its id.
    func record(_ firing: InjectionFiring, isNow: Bool = false) -> InjectionFiring {
        state.withLock { state in
            state.lastFiring += 1
            var firing = firing
            firing.id = state.lastFiring
            if let index = state.rules.firstIndex(where: { $0.id == firing.rule }) {
                state.rules[index].lastFired = firing.time
                if isNow { state.rules[index].fired += 1 }
            }
            if state.firings.count < Self.maximumFirings {
                state.firings.append(firing)
            } else {
                state.firings[state.nextFiring] = firing
                state.nextFiring = (state.nextFiring + 1) % Self.maximumFirings
            }
            return firing
        }
    }
}

extension LockClass {
    /// The rules of fault injection; nothing is called under it.
    static let injection = LockClass("injection", rank: 16, signallingSafe: false)
}
