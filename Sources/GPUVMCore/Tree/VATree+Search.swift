extension VATree {
    /// How many of a node's 32 keys are at most `key`: six compares, no branch on data.
    @inline(__always)
    static func upperBound(_ keys: UnsafeMutablePointer<UInt64>, _ key: UInt64) -> Int {
        var position = keys[15] <= key ? 16 : 0
        position &+= keys[position &+ 7] <= key ? 8 : 0
        position &+= keys[position &+ 3] <= key ? 4 : 0
        position &+= keys[position &+ 1] <= key ? 2 : 0
        position &+= keys[position] <= key ? 1 : 0
        // 31 is the last index the steps can reach; one compare is left.
        position &+= keys[position] <= key ? 1 : 0
        return position
    }

    /// The entries of a leaf whose keys are at most `key`.
    @inline(__always)
    func upperBound(inLeaf leaf: UInt32, _ key: UInt64) -> Int {
        // The largest key counts unused slots too.
        min(Self.upperBound(keys(ofLeaf: leaf), key), count(ofLeaf: leaf))
    }

    /// The child of an inner node that `key` belongs to.
    @inline(__always)
    func childIndex(inInner node: UInt32, _ key: UInt64) -> Int {
        max(min(Self.upperBound(keys(ofInner: node), key), count(ofInner: node)), 1) &- 1
    }

    /// The leaf that `key` belongs to: the last one whose separator is at most `key`.
    @inline(__always)
    func leaf(for key: UInt64) -> UInt32 {
        if key >= header.pointee.fingerLow && key <= header.pointee.fingerHigh {
            return header.pointee.fingerLeaf
        }
        return descend(to: key)
    }

    private func descend(to key: UInt64) -> UInt32 {
        var node = header.pointee.root
        var low: UInt64 = 0
        var end: UInt64 = 0  // exclusive; 0 is 2^64
        var level = header.pointee.height
        while level > 0 {
            let index = childIndex(inInner: node, key)
            let keys = keys(ofInner: node)
            if index > 0 { low = keys[index] }
            if index &+ 1 < count(ofInner: node) { end = keys[index &+ 1] }
            node = children(of: node)[index]
            level &-= 1
        }
        header.pointee.fingerLeaf = node
        header.pointee.fingerLow = low
        header.pointee.fingerHigh = end &- 1
        return node
    }

    /// As ``leaf(for:)``, and leaves the way there in `path` (1 is the level above the leaves).
    func descendRecording(to key: UInt64) -> UInt32 {
        var node = header.pointee.root
        var level = header.pointee.height
        while level > 0 {
            let index = childIndex(inInner: node, key)
            path[level] = Step(node: node, index: index)
            node = children(of: node)[index]
            level &-= 1
        }
        return node
    }

    /// Moves the recorded path to the leaf before; 0 at the first leaf.
    func stepPathLeft() -> UInt32 {
        var level = 1
        while level <= header.pointee.height && path[level].index == 0 { level += 1 }
        guard level <= header.pointee.height else { return 0 }
        path[level].index -= 1
        var node = children(of: path[level].node)[path[level].index]
        while level > 1 {
            level -= 1
            path[level] = Step(node: node, index: count(ofInner: node) - 1)
            node = children(of: node)[path[level].index]
        }
        return node
    }

    // MARK: - Cursors

    /// The first entry, or the end.
    var first: Cursor { normalized(Cursor(leaf: header.pointee.firstLeaf, index: 0)) }

    /// The first entry with a key above `key`, or the end.
    @inline(__always)
    func after(_ key: UInt64) -> Cursor {
        let leaf = leaf(for: key)
        return normalized(Cursor(leaf: leaf, index: upperBound(inLeaf: leaf, key)))
    }

    /// The last entry with a key of at most `key`, or the end.
    @inline(__always)
    func atOrBefore(_ key: UInt64) -> Cursor {
        let leaf = leaf(for: key)
        return before(Cursor(leaf: leaf, index: upperBound(inLeaf: leaf, key)))
    }

    /// A position behind a leaf's last entry is the first of the next leaf, or the end.
    @inline(__always)
    func normalized(_ cursor: Cursor) -> Cursor {
        if cursor.index < count(ofLeaf: cursor.leaf) { return cursor }
        return Cursor(leaf: leafInfo[Int(cursor.leaf)].next, index: 0)
    }

    /// The entry behind the one at `cursor`, or the end.
    @inline(__always)
    func next(_ cursor: Cursor) -> Cursor {
        normalized(Cursor(leaf: cursor.leaf, index: cursor.index &+ 1))
    }

    /// The entry in front of the one at `cursor`, or the end. `cursor` is not the end.
    @inline(__always)
    func before(_ cursor: Cursor) -> Cursor {
        if cursor.index > 0 { return Cursor(leaf: cursor.leaf, index: cursor.index &- 1) }
        let leaf = leafInfo[Int(cursor.leaf)].previous
        return leaf == 0 ? .end : Cursor(leaf: leaf, index: count(ofLeaf: leaf) &- 1)
    }

    @inline(__always)
    func key(at cursor: Cursor) -> UInt64 { keys(ofLeaf: cursor.leaf)[cursor.index] }

    @inline(__always)
    func id(at cursor: Cursor) -> UInt32 { ids(ofLeaf: cursor.leaf)[cursor.index] }
}
