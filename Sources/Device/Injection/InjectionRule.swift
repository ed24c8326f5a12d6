import PageTables

/// A fault on purpose: what, to whom, and when.
public struct InjectionRule: Sendable, Equatable {
    /// What happens.
    public var kind: InjectionKind
    /// The requests that it meets; empty: all that its kind and target can.
    public var operations: InjectionOperations = []
    /// Whom it meets.
    public var target = InjectionTarget()
    /// At which of the requests.
    public var schedule = InjectionSchedule()
    /// Whether it happens at once and never again, without a request.
    public var isNow = false
    /// How long a delay is, ns.
    public var duration: UInt64 = 0
    /// Whether a delay is one of the fence and not of the start.
    public var delaysSignal = false
    /// Where a fault is; nil: where the job's first commands are.
    public var address: UInt64?
    /// What a fault's access wanted.
    public var access = AccessKind.fetch

    /// The longest delay: ten minutes, ns.
    public static let longestDelay: UInt64 = 600_000_000_000

    /// A rule that meets the first request that it can.
    public init(_ kind: InjectionKind) { self.kind = kind }

    /// The rule with its operations filled in.
    ///
    /// - Throws: EINVAL for what makes no sense together.
    func checked() throws(DeviceError) -> InjectionRule {
        var rule = self
        var possible = kind.operations
        if target.vm != nil { possible.formIntersection(.ofVM) }
        if target.queue != nil { possible.formIntersection(.ofQueue) }
        if operations.isEmpty { rule.operations = kind == .delay ? .exec : possible }
        guard rule.operations.isSubset(of: possible) else {
            throw .invalid(
                """
                \(kind.name) at \(rule.operations.subtracting(possible)): with this target it can \
                be at \(possible)
                """)
        }
        guard schedule.every > 0 else { throw .invalid("every 0th request is none: 1 is each") }
        guard (1...InjectionSchedule.certain).contains(schedule.probability) else {
            throw .invalid(
                "a probability of \(schedule.probability) millionths: 1…1000000 are possible")
        }
        guard !isNow || kind.canBeNow else {
            throw .invalid("a \(kind.name) needs a request to meet: it cannot be now")
        }
        guard !isNow || schedule == InjectionSchedule() else {
            throw .invalid("what is now meets no request: nothing is counted or drawn")
        }
        if kind == .delay {
            guard (1...Self.longestDelay).contains(duration) else {
                throw .invalid("a delay of \(duration) ns: 1 ns to 10 min are possible")
            }
            guard !delaysSignal || rule.operations == .exec else {
                throw .invalid("only a job of an exec queue can signal late: a bind starts late")
            }
        } else if duration != 0 || delaysSignal {
            throw .invalid("a duration is a delay's: a \(kind.name) has none")
        }
        guard kind == .fault || (address == nil && access == .fetch) else {
            throw .invalid("an address and an access are a fault's: a \(kind.name) has none")
        }
        return rule
    }
}
