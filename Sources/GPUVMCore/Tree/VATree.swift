/// An ordered multimap from start addresses to 32-bit ids: a B+tree over flat, unmoving storage.
///
/// The fan-out is 32. A node's keys lie apart from the rest, and unused keys hold the largest
/// value, so that a search has no branch that depends on data and a constant trip count. The leaf
/// used last is remembered with the range of keys that belongs to it (the finger): appends and hot
/// leaves are found without a descent. Keys may repeat; a new entry goes behind its equals.
///
/// For every inner node: all keys below child `i - 1` ≤ separator `i` ≤ all keys below child `i`.
/// Separator 0 is not used. No leaf is empty but the root.
///
/// Threading: as the VM that owns it. Look-up, insertion and removal O(log n).
struct VATree {
    static let fanOut = 32
    /// A node with fewer entries after a removal looks for a sibling to merge with.
    static let sparse = 8
    /// Two siblings merge up to this many entries, so that the next insertion does not split again.
    static let mergeLimit = 28
    /// A full node first gives entries to a sibling with at most this many.
    static let shareLimit = 28
    static let maxHeight = 16

    struct LeafInfo {
        var count: UInt32
        var next: UInt32
        var previous: UInt32
    }

    struct Header {
        /// A leaf if `height` is 0.
        var root: UInt32 = 0
        var height = 0
        var count = 0
        var lastLeaf: UInt32 = 0
        var firstLeaf: UInt32 = 0
        /// The finger: keys in `fingerLow...fingerHigh` belong to `fingerLeaf`.
        var fingerLeaf: UInt32 = 0
        var fingerLow: UInt64 = 1
        var fingerHigh: UInt64 = 0
        var nextLeaf: UInt32 = 1
        var freeLeaf: UInt32 = 0
        var nextInner: UInt32 = 1
        var freeInner: UInt32 = 0
        var leafCount = 0
        var innerCount = 0
    }

    /// One level of a descent: an inner node and the index of the child that was taken.
    struct Step {
        var node: UInt32 = 0
        var index = 0
    }

    /// A place in a leaf; leaf 0 is the end.
    struct Cursor: Equatable {
        var leaf: UInt32
        var index: Int
        static let end = Cursor(leaf: 0, index: 0)
    }

    let header: UnsafeMutablePointer<Header>
    let path: UnsafeMutablePointer<Step>
    let leafKeys: UnsafeMutablePointer<UInt64>
    let leafIDs: UnsafeMutablePointer<UInt32>
    let leafInfo: UnsafeMutablePointer<LeafInfo>
    let innerKeys: UnsafeMutablePointer<UInt64>
    let innerChildren: UnsafeMutablePointer<UInt32>
    let innerCounts: UnsafeMutablePointer<UInt32>
    let leafCapacity: Int
    let innerCapacity: Int

    /// Where the tree's arrays lie in the region, for `capacity` entries.
    struct Layout {
        let leafCapacity: Int
        let innerCapacity: Int
        let leafKeys: Int
        let leafIDs: Int
        let leafInfo: Int
        let innerKeys: Int
        let innerChildren: Int
        let innerCounts: Int

        init(capacity: Int, in layout: inout RegionLayout) {
            // Merging keeps more than four entries in a node on average; a third is ample.
            leafCapacity = capacity / 3 + 64
            innerCapacity = leafCapacity / 3 + 64
            leafKeys = layout.add(UInt64.self, count: (leafCapacity + 1) * VATree.fanOut)
            leafIDs = layout.add(UInt32.self, count: (leafCapacity + 1) * VATree.fanOut)
            leafInfo = layout.add(LeafInfo.self, count: leafCapacity + 1)
            innerKeys = layout.add(UInt64.self, count: (innerCapacity + 1) * VATree.fanOut)
            innerChildren = layout.add(UInt32.self, count: (innerCapacity + 1) * VATree.fanOut)
            innerCounts = layout.add(UInt32.self, count: innerCapacity + 1)
        }
    }

    /// Creates an empty tree in zeroed memory that outlives it.
    init(_ layout: Layout, base: UnsafeMutableRawPointer) {
        func bind<T>(_ offset: Int, _ type: T.Type, count: Int) -> UnsafeMutablePointer<T> {
            (base + offset).bindMemory(to: type, capacity: count)
        }
        leafCapacity = layout.leafCapacity
        innerCapacity = layout.innerCapacity
        let leaves = leafCapacity + 1
        let inners = innerCapacity + 1
        leafKeys = bind(layout.leafKeys, UInt64.self, count: leaves * Self.fanOut)
        leafIDs = bind(layout.leafIDs, UInt32.self, count: leaves * Self.fanOut)
        leafInfo = bind(layout.leafInfo, LeafInfo.self, count: leaves)
        innerKeys = bind(layout.innerKeys, UInt64.self, count: inners * Self.fanOut)
        innerChildren = bind(layout.innerChildren, UInt32.self, count: inners * Self.fanOut)
        innerCounts = bind(layout.innerCounts, UInt32.self, count: inners)
        header = .allocate(capacity: 1)
        path = .allocate(capacity: Self.maxHeight + 1)
        path.initialize(repeating: Step(), count: Self.maxHeight + 1)
        header.initialize(to: Header())
        reset()
    }

    /// Ends the tree; its node storage is not touched.
    func destroy() {
        header.deallocate()
        path.deallocate()
    }

    /// Forgets all entries at once.
    func reset() {
        header.pointee = Header()
        let leaf = makeLeaf()
        header.pointee.root = leaf
        header.pointee.firstLeaf = leaf
        header.pointee.lastLeaf = leaf
    }

    /// The number of entries.
    @inline(__always)
    var count: Int { header.pointee.count }

    /// Bytes of node storage in use: 400 for each leaf, 388 for each inner node.
    var byteCount: Int {
        header.pointee.leafCount
            * (Self.fanOut * 12 + MemoryLayout<LeafInfo>.stride)
            + header.pointee.innerCount * (Self.fanOut * 12 + 4)
    }

    // MARK: - Nodes

    @inline(__always)
    func keys(ofLeaf leaf: UInt32) -> UnsafeMutablePointer<UInt64> {
        leafKeys + Int(leaf) &* Self.fanOut
    }

    @inline(__always)
    func ids(ofLeaf leaf: UInt32) -> UnsafeMutablePointer<UInt32> {
        leafIDs + Int(leaf) &* Self.fanOut
    }

    @inline(__always)
    func count(ofLeaf leaf: UInt32) -> Int { Int(leafInfo[Int(leaf)].count) }

    @inline(__always)
    func keys(ofInner node: UInt32) -> UnsafeMutablePointer<UInt64> {
        innerKeys + Int(node) &* Self.fanOut
    }

    @inline(__always)
    func children(of node: UInt32) -> UnsafeMutablePointer<UInt32> {
        innerChildren + Int(node) &* Self.fanOut
    }

    @inline(__always)
    func count(ofInner node: UInt32) -> Int { Int(innerCounts[Int(node)]) }

    func makeLeaf() -> UInt32 {
        let leaf: UInt32
        if header.pointee.freeLeaf != 0 {
            leaf = header.pointee.freeLeaf
            header.pointee.freeLeaf = leafInfo[Int(leaf)].next
        } else {
            leaf = header.pointee.nextLeaf
            precondition(Int(leaf) <= leafCapacity, "leaf storage exhausted")
            header.pointee.nextLeaf &+= 1
        }
        header.pointee.leafCount &+= 1
        keys(ofLeaf: leaf).update(repeating: .max, count: Self.fanOut)
        leafInfo[Int(leaf)] = LeafInfo(count: 0, next: 0, previous: 0)
        return leaf
    }

    func freeLeaf(_ leaf: UInt32) {
        leafInfo[Int(leaf)].next = header.pointee.freeLeaf
        header.pointee.freeLeaf = leaf
        header.pointee.leafCount &-= 1
    }

    func makeInner() -> UInt32 {
        let node: UInt32
        if header.pointee.freeInner != 0 {
            node = header.pointee.freeInner
            header.pointee.freeInner = children(of: node)[0]
        } else {
            node = header.pointee.nextInner
            precondition(Int(node) <= innerCapacity, "inner node storage exhausted")
            header.pointee.nextInner &+= 1
        }
        header.pointee.innerCount &+= 1
        keys(ofInner: node).update(repeating: .max, count: Self.fanOut)
        innerCounts[Int(node)] = 0
        return node
    }

    func freeInner(_ node: UInt32) {
        children(of: node)[0] = header.pointee.freeInner
        header.pointee.freeInner = node
        header.pointee.innerCount &-= 1
    }

    @inline(__always)
    func dropFinger() {
        header.pointee.fingerLow = 1
        header.pointee.fingerHigh = 0
    }
}
