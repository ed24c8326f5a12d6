/// A set-associative cache of leaves, tagged with their address space.
///
/// One array holds leaves of every size; a look-up probes once for each size that is present. What
/// is not mapped is not cached, so that a map over nothing needs no invalidation.
///
/// Threading: guarded by the lock of the ``MMU`` that owns it.
struct TLB: ~Copyable {
    private struct Entry {
        /// Address, size shift and `occupied`; 0 for a free entry.
        var key: UInt64 = 0
        var space: AddressSpace.ID = 0
        /// Physical address, kind and flags.
        var value: UInt64 = 0
    }

    private static let ways = 4
    private static let occupied: UInt64 = 0x40
    private static let shiftMask: UInt64 = 0x3f
    private static let readOnly: UInt64 = 1
    private static let null: UInt64 = 2
    private static let kindShift: UInt64 = 4

    /// The number of entries.
    let capacity: Int
    private let setBits: Int
    private let entries: UnsafeMutablePointer<Entry>
    /// The number of entries of each size shift. Changed through `pointee`: under the thread
    /// sanitizer, Swift 6.3.1 emits invalid code for an in-place change through the subscript.
    private let counts: UnsafeMutablePointer<Int>
    /// The size shifts that are present.
    private var shifts: UInt64 = 0
    private var victim = 0

    /// Makes room for at least `minimumCapacity` leaves.
    init(minimumCapacity: Int) {
        precondition(minimumCapacity <= 1 << 24, "a TLB has at most 2^24 entries")
        var bits = 0
        while Self.ways << bits < minimumCapacity { bits += 1 }
        setBits = bits
        capacity = Self.ways << bits
        entries = .allocate(capacity: capacity)
        entries.initialize(repeating: Entry(), count: capacity)
        counts = .allocate(capacity: 64)
        counts.initialize(repeating: 0, count: 64)
    }

    deinit {
        entries.deallocate()
        counts.deallocate()
    }

    @inline(__always)
    private func set(_ address: UInt64, _ shift: UInt64, _ space: AddressSpace.ID)
        -> UnsafeMutablePointer<Entry>
    {
        let page = (address &>> shift) ^ (space &<< 40)
        let hash = (page &* 0x9e37_79b9_7f4a_7c15) >> UInt64(64 - setBits)
        return entries + Int(truncatingIfNeeded: hash) &* Self.ways
    }

    @inline(__always)
    private static func key(_ address: UInt64, _ shift: UInt64) -> UInt64 {
        ((address &>> shift) &<< shift) | shift | occupied
    }

    /// The leaf cached for an address.
    @inline(__always)
    func find(_ space: AddressSpace.ID, _ address: UInt64) -> PageTableLeaf? {
        var left = shifts
        while left != 0 {
            let shift = UInt64(left.trailingZeroBitCount)
            left &= left &- 1
            let key = Self.key(address, shift)
            let first = set(address, shift, space)
            var way = 0
            while way < Self.ways {
                defer { way += 1 }
                guard first[way].key == key && first[way].space == space else { continue }
                let value = first[way].value
                return PageTableLeaf(
                    address: (address &>> shift) &<< shift, physical: value & ~0xfff,
                    sizeShift: UInt8(truncatingIfNeeded: shift), isNull: value & Self.null != 0,
                    flags: value & Self.readOnly != 0 ? .readOnly : [],
                    kind: UInt8(truncatingIfNeeded: value &>> Self.kindShift))
            }
        }
        return nil
    }

    /// Caches a leaf; returns whether another one had to go.
    mutating func insert(_ space: AddressSpace.ID, _ leaf: PageTableLeaf) -> Bool {
        let shift = UInt64(leaf.sizeShift)
        let first = set(leaf.address, shift, space)
        var way = 0
        while way < Self.ways && first[way].key != 0 { way += 1 }
        let evicts = way == Self.ways
        if evicts {
            victim = (victim &+ 1) & (Self.ways - 1)
            way = victim
            remove(first + way)
        }
        first[way] = Entry(
            key: Self.key(leaf.address, shift), space: space,
            value: leaf.physical | (leaf.flags.contains(.readOnly) ? Self.readOnly : 0)
                | (leaf.isNull ? Self.null : 0) | UInt64(leaf.kind) &<< Self.kindShift)
        (counts + Int(shift)).pointee += 1
        shifts |= 1 &<< shift
        return evicts
    }

    /// Removes every leaf of a space that overlaps `first...last`; returns how many there were.
    mutating func invalidate(
        _ space: AddressSpace.ID, first: UInt64, last: UInt64
    ) -> UInt64 {
        var removed: UInt64 = 0
        var left = shifts
        while left != 0 {
            let shift = UInt64(left.trailingZeroBitCount)
            left &= left &- 1
            let pages = (last &>> shift) &- (first &>> shift)
            if pages >= UInt64(capacity / Self.ways) {
                return removed &+ sweep(space, first: first, last: last)
            }
            // On the signalling path: the loops over ranges of an unoptimised build allocate.
            var page: UInt64 = 0
            while page <= pages {
                let address = ((first &>> shift) &+ page) &<< shift
                let key = Self.key(address, shift)
                let entry = set(address, shift, space)
                var way = 0
                while way < Self.ways {
                    if entry[way].key == key && entry[way].space == space {
                        remove(entry + way)
                        removed &+= 1
                    }
                    way += 1
                }
                page &+= 1
            }
        }
        return removed
    }

    /// Looks at every entry: cheaper than probing for each leaf of a long range.
    private mutating func sweep(
        _ space: AddressSpace.ID, first: UInt64, last: UInt64
    ) -> UInt64 {
        var removed: UInt64 = 0
        var next = entries
        while next < entries + capacity {
            let entry = next
            next += 1
            guard entry.pointee.key != 0, entry.pointee.space == space else { continue }
            let shift = entry.pointee.key & Self.shiftMask
            let base = (entry.pointee.key &>> shift) &<< shift
            if base <= last && base &+ ((1 &<< shift) &- 1) >= first {
                remove(entry)
                removed &+= 1
            }
        }
        return removed
    }

    private mutating func remove(_ entry: UnsafeMutablePointer<Entry>) {
        let shift = Int(entry.pointee.key & Self.shiftMask)
        entry.pointee.key = 0
        (counts + shift).pointee -= 1
        if counts[shift] == 0 { shifts &= ~(1 &<< UInt64(shift)) }
    }
}
