import TestSupport

/// How the next thread is chosen; which way, is part of what the seed decides.
struct SchedulingStrategy {
    enum Kind {
        /// Stay with the running thread but for one point in so many, then any thread.
        case walk(oneIn: UInt64)
        /// The enabled thread of the highest priority; at a few random points the running thread
        /// becomes the lowest. Finds orders that a random walk meets rarely.
        ///
        /// Source: Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of
        /// Finding Bugs" (ASPLOS 2010).
        case priorities
    }

    let kind: Kind
    /// Virtual nanoseconds that each point takes.
    let clockStep: UInt64
    /// Whether waits end without a reason now and then, as those of pthread may.
    let wakesSpuriously: Bool
    private(set) var random: SplitMix64
    /// Points at which priorities change; ascending.
    private var changes: [UInt64] = []
    /// The next priority that is lower than all given out so far.
    private var lowest: UInt64 = 1 << 20

    init(seed: UInt64) {
        var random = SplitMix64(seed: seed ^ 0x5ced_41e5)
        clockStep = [25, 200, 2_000, 20_000][Int(random.next() % 4)]
        wakesSpuriously = random.next() % 4 == 0
        switch random.next() % 8 {
        case 0: kind = .walk(oneIn: 2)
        case 1: kind = .walk(oneIn: 4)
        case 2, 3: kind = .walk(oneIn: 12)
        default:
            kind = .priorities
            let depth = 1 + random.next() % 6
            let horizon = UInt64(1) << (6 + random.next() % 8)
            changes = (0..<depth).map { _ in random.next() % horizon }.sorted()
        }
        self.random = random
    }

    /// A number of `0..<bound`.
    mutating func draw(_ bound: UInt64) -> UInt64 { random.next() % bound }

    mutating func makePriority() -> UInt64 { (1 << 20) + random.next() % (1 << 40) }

    mutating func makeLowestPriority() -> UInt64 {
        lowest -= 1
        return lowest
    }

    /// Whether the running thread's priority drops at this point.
    mutating func changesPriority(at point: UInt64) -> Bool {
        guard case .priorities = kind, let next = changes.first, next <= point else { return false }
        changes.removeFirst()
        return true
    }

    /// What the verdict calls it.
    var name: String {
        switch kind {
        case .walk(let oneIn): "walk 1/\(oneIn)"
        case .priorities: "priorities"
        }
    }
}
