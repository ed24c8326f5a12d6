/// The footprints of launches, ordered by where they begin: a treap in flat storage, whose nodes know
/// where the last of the footprints below them ends.
///
/// Memory: all at creation, about 160 bytes for a footprint, which the system only provides once touched.
///
/// Threading: one thread at a time.
struct FootprintTree: ~Copyable {
    /// A footprint and who has it.
    struct Node {
        var footprint: Footprint
        /// Where the first of the launches that it is of has its method header.
        var site: UInt64
        /// Whether it is part of a record already.
        var isReported = false
        fileprivate var left: Int32 = -1
        fileprivate var right: Int32 = -1
        fileprivate var priority: UInt32
        /// The greatest upper bound in the subtree.
        fileprivate var end: UInt64
    }

    private let nodes: UnsafeMutablePointer<Node>
    private let capacity: Int32
    private var count: Int32 = 0
    private var root: Int32 = -1
    /// A linear congruential generator's state. Nobody knows where it began: addresses in the order of
    /// the priorities would make a chain, too deep for an engine's stack.
    private var random = UInt32.random(in: 0...UInt32.max)

    init(capacity: Int) {
        self.capacity = Int32(capacity)
        nodes = .allocate(capacity: capacity)
    }

    // Nodes hold no references, so that there is nothing to deinitialise.
    deinit { nodes.deallocate() }

    var isEmpty: Bool { count == 0 }

    /// Forgets everything. O(1).
    mutating func removeAll() {
        count = 0
        root = -1
    }

    /// Remembers a footprint; the one remembered last grows if the new one continues it.
    ///
    /// Complexity: O(log n) expected.
    ///
    /// - Returns: False if there is no room.
    mutating func insert(_ footprint: Footprint, site: UInt64) -> Bool {
        if count > 0, extendLast(by: footprint) { return true }
        guard count < capacity else { return false }
        random = random &* 1_664_525 &+ 1_013_904_223
        (nodes + Int(count)).initialize(
            to: Node(
                footprint: footprint, site: site, priority: random >> 8,
                end: footprint.bounds.upperBound))
        root = insert(count, below: root)
        count += 1
        return true
    }

    private mutating func extendLast(by next: Footprint) -> Bool {
        let last = count - 1
        guard nodes[Int(last)].footprint.isContiguous, next.isContiguous,
            nodes[Int(last)].footprint.bounds.upperBound == next.bounds.lowerBound
        else { return false }
        nodes[Int(last)].footprint.extend(by: next)
        let end = next.bounds.upperBound
        var node = root
        while true {
            nodes[Int(node)].end = max(nodes[Int(node)].end, end)
            if node == last { return true }
            node = isBefore(last, node) ? nodes[Int(node)].left : nodes[Int(node)].right
        }
    }

    /// The order of the tree: by beginning, then by age.
    private func isBefore(_ a: Int32, _ b: Int32) -> Bool {
        let first = nodes[Int(a)].footprint.bounds.lowerBound
        let second = nodes[Int(b)].footprint.bounds.lowerBound
        return first == second ? a < b : first < second
    }

    private func update(_ node: Int32) {
        var end = nodes[Int(node)].footprint.bounds.upperBound
        let (left, right) = (nodes[Int(node)].left, nodes[Int(node)].right)
        if left >= 0 { end = max(end, nodes[Int(left)].end) }
        if right >= 0 { end = max(end, nodes[Int(right)].end) }
        nodes[Int(node)].end = end
    }

    private func insert(_ node: Int32, below top: Int32) -> Int32 {
        guard top >= 0 else { return node }
        let isLeft = isBefore(node, top)
        let child = insert(node, below: isLeft ? nodes[Int(top)].left : nodes[Int(top)].right)
        let rises = nodes[Int(child)].priority > nodes[Int(top)].priority
        if isLeft {
            nodes[Int(top)].left = rises ? nodes[Int(child)].right : child
            if rises { nodes[Int(child)].right = top }
        } else {
            nodes[Int(top)].right = rises ? nodes[Int(child)].left : child
            if rises { nodes[Int(child)].left = top }
        }
        update(top)
        if rises { update(child) }
        return rises ? child : top
    }

    /// The first footprint found that certainly shares bytes with the given one and is in no record.
    ///
    /// Complexity: O(log n + `limit`) expected.
    ///
    /// - Parameter limit: How many footprints with touching bounds are compared; what is left of it
    ///   comes back in it.
    /// - Returns: Its index for ``markReported(_:)`` and where its launch is, and the bytes; nil for
    ///   none. Those in a record count in `known`.
    func firstOverlap(
        _ footprint: Footprint, _ limit: inout Int, known: inout Int
    ) -> (index: Int, site: UInt64, address: UInt64, bytes: UInt64)? {
        firstOverlap(footprint, below: root, &limit, &known)
    }

    private func firstOverlap(
        _ footprint: Footprint, below top: Int32, _ limit: inout Int, _ known: inout Int
    ) -> (index: Int, site: UInt64, address: UInt64, bytes: UInt64)? {
        guard top >= 0, nodes[Int(top)].end > footprint.bounds.lowerBound else { return nil }
        if let found = firstOverlap(footprint, below: nodes[Int(top)].left, &limit, &known) {
            return found
        }
        let node = nodes + Int(top)
        let bounds = node.pointee.footprint.bounds
        guard bounds.lowerBound < footprint.bounds.upperBound else { return nil }
        if bounds.upperBound > footprint.bounds.lowerBound {
            guard limit > 0 else { return nil }
            limit -= 1
            if let shared = node.pointee.footprint.overlap(footprint) {
                if !node.pointee.isReported {
                    return (Int(top), node.pointee.site, shared.address, shared.bytes)
                }
                known += 1
            }
        }
        return firstOverlap(footprint, below: node.pointee.right, &limit, &known)
    }

    /// Says that a footprint is part of a record.
    func markReported(_ index: Int) { nodes[index].isReported = true }
}
