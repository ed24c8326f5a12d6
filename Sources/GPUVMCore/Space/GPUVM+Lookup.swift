extension GPUVM {
    /// A mapping by its id, which names an existing mapping.
    @inline(__always)
    func va(_ id: UInt32) -> GPUVA {
        let record = vas[id]
        return GPUVA(
            id: id, flags: GPUVAFlags(rawValue: record.flags), address: record.address,
            range: record.range, offset: record.offset,
            unmanagedObject: record.vmBO == 0 ? nil : self.record(record.vmBO).pointee.object)
    }

    /// The first entry that an interval tree would report for `first...last`, or the end.
    ///
    /// That is the first entry in order whose last byte is at or behind `first`, if it starts at or
    /// before `last`. Entries of zero range end in front of their start (modulo 2^64), and `last`
    /// may have wrapped; the kernel's answers in these cases are reproduced
    /// (include/linux/interval_tree_generic.h).
    @inline(__always)
    func firstOverlap(_ first: UInt64, _ last: UInt64) -> VATree.Cursor {
        let leaf = tree.leaf(for: first)
        let position = VATree.Cursor(leaf: leaf, index: tree.upperBound(inLeaf: leaf, first))
        var candidate = tree.before(position)
        if candidate != .end {
            var record = vas[tree.id(at: candidate)]
            // Entries of zero range can stand behind the one mapping with their start.
            while record.range == 0 {
                let previous = tree.before(candidate)
                guard previous != .end, tree.key(at: previous) == record.address else { break }
                candidate = previous
                record = vas[tree.id(at: candidate)]
            }
            if record.last >= first { return record.address <= last ? candidate : .end }
        }
        let next = tree.normalized(position)
        return next != .end && tree.key(at: next) <= last ? next : .end
    }

    private func va(at cursor: VATree.Cursor) -> GPUVA? {
        cursor == .end ? nil : va(tree.id(at: cursor))
    }

    /// The mapping of exactly this range; the reserved node is one. Bytes.
    ///
    /// Source: `drm_gpuva_find`.
    public func find(address: UInt64, range: UInt64) -> GPUVA? {
        guard let va = findFirst(address: address, range: range), va.address == address,
            va.range == range
        else { return nil }
        return va
    }

    /// The first mapping that overlaps the range; nothing is validated. Bytes.
    ///
    /// Source: `drm_gpuva_find_first`.
    public func findFirst(address: UInt64, range: UInt64) -> GPUVA? {
        va(at: firstOverlap(address, address &+ range &- 1))
    }

    /// The mapping that ends at `address`, or else the one *at* `address`. Bytes.
    ///
    /// Source: `drm_gpuva_find_prev`, which has the second half too.
    public func findPrevious(before address: UInt64) -> GPUVA? {
        guard isValid(address: address &- 1, range: 1) else { return nil }
        return va(at: firstOverlap(address &- 1, address))
    }

    /// The mapping at `address`, or else the one that starts one byte behind it. Bytes.
    ///
    /// Source: `drm_gpuva_find_next`.
    public func findNext(after address: UInt64) -> GPUVA? {
        guard isValid(address: address, range: 1) else { return nil }
        return va(at: firstOverlap(address, address &+ 1))
    }

    /// Whether nothing overlaps the range, the reserved node included. Bytes.
    ///
    /// Source: `drm_gpuvm_interval_empty`.
    public func isEmpty(address: UInt64, range: UInt64) -> Bool {
        firstOverlap(address, address &+ range &- 1) == .end
    }

    /// Whether the range lies in the space, outside of the reserved part, and does not overflow (to
    /// end at 2^64 counts as overflow). Bytes.
    ///
    /// Source: `drm_gpuvm_range_valid`.
    @inline(__always)
    public func isValid(address: UInt64, range: UInt64) -> Bool {
        let (end, overflow) = address.addingReportingOverflow(range)
        guard !overflow, address >= start, end <= start &+ self.range else { return false }
        return reservedRange == 0 || address >= reservedStart &+ reservedRange
            || reservedStart >= end
    }

    /// The mapping that contains `address`, which may be the reserved node. Bytes.
    public func mapping(containing address: UInt64) -> GPUVA? {
        va(at: firstOverlap(address, address))
    }

    /// The mappings nearest to an address, for a fault report: the one that contains it, the last
    /// one below and the first one above. Bytes.
    public func nearest(
        to address: UInt64
    ) -> (below: GPUVA?, containing: GPUVA?, above: GPUVA?) {
        let above = va(at: tree.after(address))
        let cursor = tree.atOrBefore(address)
        guard let va = va(at: cursor) else { return (nil, nil, above) }
        guard va.range != 0, address &- va.address < va.range else { return (va, nil, above) }
        return (self.va(at: tree.before(cursor)), va, above)
    }

    /// Calls `body` for each mapping that ends behind `address`, by address, the reserved node
    /// included, until it returns false.
    @inline(__always)
    public func forEachVA<Failure: Error>(
        from address: UInt64 = 0, _ body: (GPUVA) throws(Failure) -> Bool
    ) throws(Failure) {
        var cursor = address == 0 ? tree.first : firstOverlap(address, .max)
        while cursor != .end {
            guard try body(va(tree.id(at: cursor))) else { return }
            cursor = tree.next(cursor)
        }
    }

    /// Whether `va` is the part of the space that is reserved.
    public func isReserved(_ va: GPUVA) -> Bool {
        va.id == state.pointee.reservedVA
    }
}
