/// What a walk read on its way to one address, for reports.
public struct PageTableWalk: Sendable {
    /// One level of the way.
    public struct Step: Equatable, Sendable {
        /// The level; the root has the highest.
        public var level: Int
        /// The physical address of the table read.
        public var table: PhysicalAddress
        /// The index into it, 0…511.
        public var index: Int
        /// The bytes found there.
        public var entry: UInt64
        /// What they mean.
        public var meaning: PageTableEntry
    }

    /// The most levels that any format has.
    public static var maxLevels: Int { 5 }

    private var storage = InlineArray<5, Step>(
        repeating: Step(level: 0, table: 0, index: 0, entry: 0, meaning: .invalid))
    /// The address looked up.
    public let address: UInt64
    /// How many tables were read.
    public private(set) var stepCount = 0
    /// Where the walk ended.
    public internal(set) var result: PageLookup

    init(address: UInt64, result: PageLookup) {
        self.address = address
        self.result = result
    }

    /// The physical address that the walk translates to; nil for a fault or a null leaf.
    public var physical: PhysicalAddress? {
        guard case .leaf(let leaf) = result, !leaf.isNull else { return nil }
        return leaf.physical + (address - leaf.address)
    }

    /// The step at a position, root first: 0..<`stepCount`.
    public subscript(_ position: Int) -> Step {
        precondition(position < stepCount, "the walk has not that many steps")
        return storage[position]
    }

    /// All steps, root first, as an array (which allocates).
    public var steps: [Step] { (0..<stepCount).map { storage[$0] } }

    mutating func append(_ step: Step) {
        storage[stepCount] = step
        stepCount += 1
    }
}
