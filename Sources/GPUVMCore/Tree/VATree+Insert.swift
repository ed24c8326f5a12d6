extension VATree {
    /// Inserts an entry behind all entries with the same key.
    @inline(__always)
    func insert(_ key: UInt64, _ id: UInt32) {
        let leaf = leaf(for: key)
        if count(ofLeaf: leaf) < Self.fanOut {
            store(key, id, inLeaf: leaf, at: upperBound(inLeaf: leaf, key))
        } else {
            insertIntoFullLeaf(key, id)
        }
    }

    /// Inserts an entry so that exactly `rank` entries with the same key stand in front of it: how a
    /// removal is undone. `rank` is at most the number of such entries.
    func insert(_ key: UInt64, _ id: UInt32, rank: Int) {
        var equals = 0
        var cursor = atOrBefore(key)
        while cursor != .end && self.key(at: cursor) == key {
            equals += 1
            cursor = before(cursor)
        }
        guard rank < equals else { return insert(key, id) }
        while true {
            var stepsBack = equals - rank
            var leaf = descendRecording(to: key)
            var position = upperBound(inLeaf: leaf, key)
            while stepsBack > position {
                stepsBack -= position
                leaf = stepPathLeft()
                position = count(ofLeaf: leaf)
            }
            position -= stepsBack
            if count(ofLeaf: leaf) < Self.fanOut {
                return store(key, id, inLeaf: leaf, at: position)
            }
            makeRoom(inLeaf: leaf)
        }
    }

    @inline(__always)
    private func store(_ key: UInt64, _ id: UInt32, inLeaf leaf: UInt32, at position: Int) {
        let keys = keys(ofLeaf: leaf)
        let ids = ids(ofLeaf: leaf)
        let moved = count(ofLeaf: leaf) &- position
        (keys + (position &+ 1)).update(from: keys + position, count: moved)
        (ids + (position &+ 1)).update(from: ids + position, count: moved)
        keys[position] = key
        ids[position] = id
        leafInfo[Int(leaf)].count &+= 1
        header.pointee.count &+= 1
    }

    private func insertIntoFullLeaf(_ key: UInt64, _ id: UInt32) {
        let leaf = descendRecording(to: key)
        if leaf == header.pointee.lastLeaf && keys(ofLeaf: leaf)[Self.fanOut - 1] <= key {
            // An append: the old leaf stays full.
            let appended = makeLeaf()
            linkLeaf(appended, after: leaf)
            store(key, id, inLeaf: appended, at: 0)
            insertChild(appended, separator: key, level: 1)
            dropFinger()
            return
        }
        makeRoom(inLeaf: leaf)
        let target = descendRecording(to: key)
        store(key, id, inLeaf: target, at: upperBound(inLeaf: target, key))
    }

    private func linkLeaf(_ leaf: UInt32, after left: UInt32) {
        let next = leafInfo[Int(left)].next
        leafInfo[Int(leaf)].next = next
        leafInfo[Int(leaf)].previous = left
        leafInfo[Int(left)].next = leaf
        if next != 0 {
            leafInfo[Int(next)].previous = leaf
        } else {
            header.pointee.lastLeaf = leaf
        }
    }

    /// Makes the full leaf that the recorded path leads to less than full: gives entries to a
    /// sibling that has room, which keeps leaves fuller than splitting does, or else splits it.
    private func makeRoom(inLeaf leaf: UInt32) {
        dropFinger()
        if header.pointee.height > 0 {
            let parent = path[1].node
            let index = path[1].index
            if index + 1 < count(ofInner: parent) {
                let right = children(of: parent)[index + 1]
                if count(ofLeaf: right) <= Self.shareLimit {
                    moveTail(of: leaf, count: (Self.fanOut - count(ofLeaf: right)) / 2, to: right)
                    keys(ofInner: parent)[index + 1] = keys(ofLeaf: right)[0]
                    return
                }
            }
            if index > 0 {
                let left = children(of: parent)[index - 1]
                if count(ofLeaf: left) <= Self.shareLimit {
                    moveHead(of: leaf, count: (Self.fanOut - count(ofLeaf: left)) / 2, to: left)
                    keys(ofInner: parent)[index] = keys(ofLeaf: leaf)[0]
                    return
                }
            }
        }
        let right = makeLeaf()
        linkLeaf(right, after: leaf)
        moveTail(of: leaf, count: Self.fanOut / 2, to: right)
        insertChild(right, separator: keys(ofLeaf: right)[0], level: 1)
    }

    /// Moves the last `moved` entries of a leaf to the front of its right neighbour.
    private func moveTail(of leaf: UInt32, count moved: Int, to right: UInt32) {
        let kept = count(ofLeaf: leaf) - moved
        let old = count(ofLeaf: right)
        let (keys, ids) = (keys(ofLeaf: leaf), ids(ofLeaf: leaf))
        let (rightKeys, rightIDs) = (self.keys(ofLeaf: right), self.ids(ofLeaf: right))
        (rightKeys + moved).update(from: rightKeys, count: old)
        (rightIDs + moved).update(from: rightIDs, count: old)
        rightKeys.update(from: keys + kept, count: moved)
        rightIDs.update(from: ids + kept, count: moved)
        (keys + kept).update(repeating: .max, count: moved)
        leafInfo[Int(leaf)].count = UInt32(kept)
        leafInfo[Int(right)].count = UInt32(old + moved)
    }

    /// Moves the first `moved` entries of a leaf to the end of its left neighbour.
    func moveHead(of leaf: UInt32, count moved: Int, to left: UInt32) {
        let kept = count(ofLeaf: leaf) - moved
        let old = count(ofLeaf: left)
        let (keys, ids) = (keys(ofLeaf: leaf), ids(ofLeaf: leaf))
        (self.keys(ofLeaf: left) + old).update(from: keys, count: moved)
        (self.ids(ofLeaf: left) + old).update(from: ids, count: moved)
        keys.update(from: keys + moved, count: kept)
        ids.update(from: ids + moved, count: kept)
        (keys + kept).update(repeating: .max, count: moved)
        leafInfo[Int(leaf)].count = UInt32(kept)
        leafInfo[Int(left)].count = UInt32(old + moved)
    }

    /// Hangs a new node in behind the child that the recorded path takes at `level`.
    private func insertChild(_ child: UInt32, separator: UInt64, level: Int) {
        if level > header.pointee.height {
            precondition(level <= Self.maxHeight, "the tree grew beyond every possible height")
            let root = makeInner()
            let (keys, children) = (keys(ofInner: root), children(of: root))
            keys[0] = 0
            keys[1] = separator
            children[0] = header.pointee.root
            children[1] = child
            innerCounts[Int(root)] = 2
            header.pointee.root = root
            header.pointee.height = level
            return
        }
        var node = path[level].node
        var position = path[level].index + 1
        if count(ofInner: node) == Self.fanOut {
            let right = makeInner()
            if position == Self.fanOut {
                // An append: the old node stays full.
                children(of: right)[0] = child
                innerCounts[Int(right)] = 1
                return insertChild(right, separator: separator, level: level + 1)
            }
            let half = Self.fanOut / 2
            let promoted = keys(ofInner: node)[half]
            keys(ofInner: right).update(from: keys(ofInner: node) + half, count: half)
            children(of: right).update(from: children(of: node) + half, count: half)
            (keys(ofInner: node) + half).update(repeating: .max, count: half)
            innerCounts[Int(node)] = UInt32(half)
            innerCounts[Int(right)] = UInt32(half)
            insertChild(right, separator: promoted, level: level + 1)
            if position > half {
                node = right
                position -= half
            }
        }
        let (keys, children) = (keys(ofInner: node), children(of: node))
        let moved = count(ofInner: node) - position
        (keys + position + 1).update(from: keys + position, count: moved)
        (children + position + 1).update(from: children + position, count: moved)
        keys[position] = separator
        children[position] = child
        innerCounts[Int(node)] += 1
    }
}
