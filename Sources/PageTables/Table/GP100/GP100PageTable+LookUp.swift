import Synchronization

extension GP100PageTable {
    /// Walks the tables for one address, as the hardware does; see ``PageWalker``.
    ///
    /// Complexity: at most seven loads, and again for each time that a writer joins small entries to a
    /// larger one in between.
    public func lookUp(_ address: UInt64) -> PageLookup {
        guard address >> UInt64(GP100Format.addressBits) == 0 else { return .fault(.outOfRange) }
        while true {
            let before = joins.load(ordering: .acquiring)
            let lookup = walkOnce(address)
            // A hole may be what a join left behind: the big entry was read before it, the small one
            // after it. Hardware has no such hole, as it reads the small entries of a valid table
            // only.
            guard case .fault(.notMapped) = lookup, joins.load(ordering: .relaxed) != before else {
                return lookup
            }
        }
    }

    private func walkOnce(_ address: UInt64) -> PageLookup {
        var table = root
        var level = GP100Format.rootLevel
        while level > 1 {
            let slot = pool.entries(table) + GP100Format.index(address, level)
            let entry = slot.pointee.load(ordering: .acquiring)
            switch follow(entry) {
            case .table(let physical):
                guard let child = pool.table(at: physical) else {
                    return .fault(.machineCheck(physical))
                }
                table = child
            case .null:
                return Self.nullLeaf(address, GP100Format.shift(level))
            case .invalid:
                return .fault(.notMapped(level: level))
            case .memory, .malformed:
                return .fault(.malformedEntry(level: level, entry: entry))
            }
            level -= 1
        }
        let words = pool.entries(table) + 2 &* GP100Format.index(address, 1)
        let low = words[0].load(ordering: .acquiring)
        if low & GP100Format.valid != 0 {
            return leaf(low, address, sizeShift: 21, level: 1) ?? .fault(.notMapped(level: 1))
        }
        if low & GP100Format.apertureMask != 0 {
            let physical = format.table(low, unit: 256)
            guard let big = pool.table(at: physical) else {
                return .fault(.machineCheck(physical))
            }
            let offset = Int(truncatingIfNeeded: (physical & 0xf00) &>> 3)
            let slot = pool.entries(big) + (offset &+ GP100Format.index(address, 0))
            let entry = slot.pointee.load(ordering: .acquiring)
            if let found = leaf(entry, address, sizeShift: 16, level: 0) { return found }
            if entry & GP100Format.privileged != 0 { return .fault(.notMapped(level: 0)) }
        } else if low & GP100Format.volatile != 0 {
            return Self.nullLeaf(address, 21)
        }
        let high = words[1].load(ordering: .acquiring)
        guard high & GP100Format.apertureMask != 0 else {
            return .fault(.notMapped(level: low & GP100Format.apertureMask == 0 ? 1 : 0))
        }
        let physical = format.table(high)
        guard let small = pool.table(at: physical) else { return .fault(.machineCheck(physical)) }
        let page = Int(truncatingIfNeeded: (address &>> frameShift) & 511)
        let entry = pool.entries(small)[page].load(ordering: .acquiring)
        return leaf(entry, address, sizeShift: 12, level: 0) ?? .fault(.notMapped(level: 0))
    }

    /// What an entry of PDE1, PDE2 or PDE3 means.
    @inline(__always)
    func follow(_ entry: UInt64) -> PageTableEntry {
        if entry & GP100Format.valid != 0 { return .malformed }
        if entry & GP100Format.apertureMask != 0 { return .table(format.table(entry)) }
        return entry & GP100Format.volatile != 0 ? .null([], contiguous: false) : .invalid
    }

    /// What a page-table entry leads to; nil if it is invalid.
    @inline(__always)
    private func leaf(
        _ entry: UInt64, _ address: UInt64, sizeShift: UInt64, level: Int
    ) -> PageLookup? {
        switch format.decode(entry, sizeShift: sizeShift) {
        case .memory(let physical, let flags, _):
            return .leaf(
                PageTableLeaf(
                    address: (address &>> sizeShift) &<< sizeShift, physical: physical,
                    sizeShift: UInt8(truncatingIfNeeded: sizeShift), isNull: false, flags: flags,
                    kind: UInt8(truncatingIfNeeded: entry &>> 56)))
        case .null:
            return Self.nullLeaf(address, sizeShift)
        case .invalid:
            return nil
        case .malformed, .table:
            return .fault(.malformedEntry(level: level, entry: entry))
        }
    }

    @inline(__always)
    private static func nullLeaf(_ address: UInt64, _ sizeShift: UInt64) -> PageLookup {
        .leaf(
            PageTableLeaf(
                address: (address &>> sizeShift) &<< sizeShift, physical: 0,
                sizeShift: UInt8(truncatingIfNeeded: sizeShift), isNull: true, flags: []))
    }
}
