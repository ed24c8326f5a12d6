extension VATree {
    /// Removes the entry of this key and id.
    ///
    /// - Returns: How many entries with the same key stood in front of it, or nil if there is none.
    @inline(__always)
    func remove(_ key: UInt64, _ id: UInt32) -> Int? {
        let leaf = leaf(for: key)
        let position = upperBound(inLeaf: leaf, key) &- 1
        // The common case: the key is unique, and the leaf stays full enough.
        if position > 0 && ids(ofLeaf: leaf)[position] == id
            && keys(ofLeaf: leaf)[position] == key && keys(ofLeaf: leaf)[position &- 1] != key
            && count(ofLeaf: leaf) > Self.sparse
        {
            close(position, inLeaf: leaf)
            return 0
        }
        return removeSlowly(key, id)
    }

    /// Puts another id in the place of an entry's whose key is unique: a removal and an insertion.
    ///
    /// - Returns: False, and nothing has changed, if it has to be done by those.
    @inline(__always)
    func exchange(_ key: UInt64, _ id: UInt32, for newID: UInt32) -> Bool {
        let leaf = leaf(for: key)
        let position = upperBound(inLeaf: leaf, key) &- 1
        // Equals could stand at the end of the leaf before.
        guard position > 0, ids(ofLeaf: leaf)[position] == id,
            keys(ofLeaf: leaf)[position] == key, keys(ofLeaf: leaf)[position &- 1] != key
        else { return false }
        ids(ofLeaf: leaf)[position] = newID
        return true
    }

    private func removeSlowly(_ key: UInt64, _ id: UInt32) -> Int? {
        var leaf = descendRecording(to: key)
        var position = upperBound(inLeaf: leaf, key) - 1
        while true {
            if position < 0 {
                leaf = stepPathLeft()
                guard leaf != 0 else { return nil }
                position = count(ofLeaf: leaf) - 1
            }
            guard keys(ofLeaf: leaf)[position] == key else { return nil }
            if ids(ofLeaf: leaf)[position] == id { break }
            position -= 1
        }
        var rank = 0
        var cursor = before(Cursor(leaf: leaf, index: position))
        while cursor != .end && self.key(at: cursor) == key {
            rank += 1
            cursor = before(cursor)
        }
        close(position, inLeaf: leaf)
        if header.pointee.height > 0 && count(ofLeaf: leaf) < Self.sparse { rebalance(leaf) }
        return rank
    }

    @inline(__always)
    private func close(_ position: Int, inLeaf leaf: UInt32) {
        let keys = keys(ofLeaf: leaf)
        let ids = ids(ofLeaf: leaf)
        let last = count(ofLeaf: leaf) &- 1
        (keys + position).update(from: keys + (position &+ 1), count: last &- position)
        (ids + position).update(from: ids + (position &+ 1), count: last &- position)
        keys[last] = .max
        leafInfo[Int(leaf)].count &-= 1
        header.pointee.count &-= 1
    }

    /// Merges the leaf that the recorded path leads to with a sibling, or takes it out if empty.
    private func rebalance(_ leaf: UInt32) {
        let parent = path[1].node
        let index = path[1].index
        let own = count(ofLeaf: leaf)
        let children = children(of: parent)
        if own == 0 {
            unlinkLeaf(leaf)
            removeChild(at: index, level: 1)
        } else if index + 1 < count(ofInner: parent),
            own + count(ofLeaf: children[index + 1]) <= Self.mergeLimit
        {
            let right = children[index + 1]
            moveHead(of: right, count: count(ofLeaf: right), to: leaf)
            unlinkLeaf(right)
            removeChild(at: index + 1, level: 1)
        } else if index > 0, own + count(ofLeaf: children[index - 1]) <= Self.mergeLimit {
            moveHead(of: leaf, count: own, to: children[index - 1])
            unlinkLeaf(leaf)
            removeChild(at: index, level: 1)
        }
    }

    private func unlinkLeaf(_ leaf: UInt32) {
        let info = leafInfo[Int(leaf)]
        if info.previous != 0 {
            leafInfo[Int(info.previous)].next = info.next
        } else {
            header.pointee.firstLeaf = info.next
        }
        if info.next != 0 {
            leafInfo[Int(info.next)].previous = info.previous
        } else {
            header.pointee.lastLeaf = info.previous
        }
        freeLeaf(leaf)
        dropFinger()
    }

    /// Takes a child out of the inner node that the recorded path has at `level`.
    private func removeChild(at index: Int, level: Int) {
        let node = path[level].node
        let (keys, children) = (keys(ofInner: node), children(of: node))
        let last = count(ofInner: node) - 1
        (keys + index).update(from: keys + index + 1, count: last - index)
        (children + index).update(from: children + index + 1, count: last - index)
        keys[last] = .max
        innerCounts[Int(node)] = UInt32(last)
        if level == header.pointee.height {
            if last == 1 {
                header.pointee.root = children[0]
                header.pointee.height -= 1
                freeInner(node)
            } else if last == 0 {
                freeInner(node)
                header.pointee.height = 0
                let leaf = makeLeaf()
                header.pointee.root = leaf
                header.pointee.firstLeaf = leaf
                header.pointee.lastLeaf = leaf
            }
        } else if last == 0 {
            freeInner(node)
            removeChild(at: path[level + 1].index, level: level + 1)
        } else if last < Self.sparse {
            mergeInner(node, level: level)
        }
    }

    private func mergeInner(_ node: UInt32, level: Int) {
        let parent = path[level + 1].node
        let index = path[level + 1].index
        let siblings = children(of: parent)
        let own = count(ofInner: node)
        if index + 1 < count(ofInner: parent),
            own + count(ofInner: siblings[index + 1]) <= Self.mergeLimit
        {
            append(siblings[index + 1], to: node, separator: keys(ofInner: parent)[index + 1])
            removeChild(at: index + 1, level: level + 1)
        } else if index > 0, own + count(ofInner: siblings[index - 1]) <= Self.mergeLimit {
            append(node, to: siblings[index - 1], separator: keys(ofInner: parent)[index])
            removeChild(at: index, level: level + 1)
        }
    }

    private func append(_ right: UInt32, to left: UInt32, separator: UInt64) {
        let old = count(ofInner: left)
        let moved = count(ofInner: right)
        (keys(ofInner: left) + old).update(from: keys(ofInner: right), count: moved)
        (children(of: left) + old).update(from: children(of: right), count: moved)
        // The right node's own separator 0 may be stale; the parent's is the bound.
        keys(ofInner: left)[old] = separator
        innerCounts[Int(left)] = UInt32(old + moved)
        freeInner(right)
    }
}
