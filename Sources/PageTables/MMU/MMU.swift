import Fencing

// @unchecked: everything mutable is guarded by `lock`.
/// An engine's memory management unit: it translates through a TLB that really caches.
///
/// A changed page-table entry is seen only after ``invalidate(space:address:range:)``, as in
/// hardware. Invalidation takes the lock that every access holds: when it returns, no access that
/// used the old translation is running, and none will. That is the acknowledgement after which
/// frames and tables may be used again.
///
/// The TLB caches *physical* leaves. The owner of the frame is looked up on every access, so that a
/// stale entry over a frame without an owner is a machine check and not lucky data.
///
/// Threading: any thread; accesses of one MMU exclude each other. A thread inside an access takes
/// no lock outside of ``LockClass/mmu``; it keeps the access short (about 64 KiB), so that an
/// invalidation is prompt.
public final class MMU: @unchecked Sendable {
    @usableFromInline let lock = Lock(.mmu)
    private let memory: any PhysicalMemory
    private var tlb: TLB
    private var counters = MMUStatistics()
    /// The last leaf used: most accesses are near their predecessor.
    private var last = PageTableLeaf(
        address: 0, physical: 0, sizeShift: 0, isNull: true, flags: [])
    /// The last leaf's address space; 0, which is no space's, if there is none.
    private var lastSpace: AddressSpace.ID = 0

    /// Makes an MMU with an empty TLB.
    ///
    /// - Parameters:
    ///   - memory: Finds the host memory behind frames.
    ///   - tlbEntries: The number of leaves that the TLB holds, rounded up to a power of two of at
    ///     least 4; at most 2^24. An entry takes 24 bytes.
    public init(memory: some PhysicalMemory, tlbEntries: Int = 64) {
        self.memory = memory
        tlb = TLB(minimumCapacity: tlbEntries)
    }

    /// How many leaves the TLB holds.
    public var tlbCapacity: Int { tlb.capacity }

    /// What the MMU has done so far.
    public var statistics: MMUStatistics { lock.withLock { counters } }

    /// Runs one bounded access: translations that `body` asks for are valid until it returns.
    @inlinable
    public func withAccess<Result: ~Copyable, Failure: Error>(
        _ body: (borrowing MMUAccess) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        lock.lock()
        defer { lock.unlock() }
        return try body(MMUAccess(mmu: self))
    }

    /// Forgets what is cached of a range, and returns when no access uses it any more.
    ///
    /// Complexity: O(the leaves that fit into the range), at most O(TLB entries).
    /// - Parameters:
    ///   - space: The address space.
    ///   - address: The first virtual address.
    ///   - range: The number of bytes; 0 invalidates nothing, but still waits for the access.
    public func invalidate(space: AddressSpace.ID, address: UInt64, range: UInt64) {
        lock.withLock {
            invalidateLocked(space, VirtualRange(address: address, bytes: range))
        }
    }

    /// Forgets what is cached of several ranges, under one acquisition of the lock.
    public func invalidate(
        space: AddressSpace.ID, ranges: UnsafeBufferPointer<VirtualRange>
    ) {
        lock.withLock {
            for range in ranges { invalidateLocked(space, range) }
        }
    }

    /// Forgets all that is cached of an address space, and returns when no access uses it any more.
    public func invalidateAll(space: AddressSpace.ID) {
        lock.withLock {
            invalidateLocked(space, VirtualRange(address: 0, bytes: .max))
        }
    }

    private func invalidateLocked(_ space: AddressSpace.ID, _ range: VirtualRange) {
        counters.invalidations &+= 1
        #if MUTANTS
            if Mutant.isPlanted("tlbNotInvalidated") { return }
        #endif
        guard let last = range.last else { return }
        if lastSpace == space { lastSpace = 0 }
        counters.invalidatedEntries &+= tlb.invalidate(space, first: range.address, last: last)
    }

    /// Translates under the lock; see ``MMUAccess/translate(space:address:length:intent:)``.
    @usableFromInline
    func translate(
        _ space: AddressSpace, _ address: UInt64, _ limit: UInt64, _ intent: AccessKind
    ) -> Translation {
        lock.assertHeld()
        if space.isDead { return fault(space, address, intent, .spaceClosed) }
        let leaf: PageTableLeaf
        switch find(space, address) {
        case .leaf(let found): leaf = found
        case .fault(let reason): return fault(space, address, intent, reason)
        }
        if intent == .write && leaf.flags.contains(.readOnly) {
            return fault(space, address, intent, .readOnly)
        }
        let offset = address &- leaf.address
        let physical = leaf.physical &+ offset
        var length = leaf.bytes &- offset
        if length < limit {
            length = join(space, address, leaf, length, limit, intent)
        }
        length = min(length, limit)
        if !leaf.isNull {
            guard let host = memory.resolve(physical, limit: length) else {
                return fault(space, address, intent, .machineCheck(physical))
            }
            length = min(length, host.bytes)
            count(length, intent)
            return .memory(host.pointer, length)
        }
        count(length, intent)
        return .null(length)
    }

    /// Extends a translation over the leaves that continue it; returns the bytes reached.
    private func join(
        _ space: AddressSpace, _ address: UInt64, _ leaf: PageTableLeaf, _ length: UInt64,
        _ limit: UInt64, _ intent: AccessKind
    ) -> UInt64 {
        let physical = leaf.physical &+ (address &- leaf.address)
        let end = (1 as UInt64) &<< UInt64(space.walker.addressBits)
        var length = length
        while length < limit && address &+ length < end {
            guard case .leaf(let next) = find(space, address &+ length),
                next.isNull == leaf.isNull,
                intent != .write || !next.flags.contains(.readOnly)
            else { break }
            let offset = address &+ length &- next.address
            guard leaf.isNull || next.physical &+ offset == physical &+ length else { break }
            length &+= next.bytes &- offset
        }
        return length
    }

    @inline(__always)
    private func find(_ space: AddressSpace, _ address: UInt64) -> PageLookup {
        if lastSpace == space.id && address &- last.address < last.bytes {
            counters.hits &+= 1
            return .leaf(last)
        }
        if let leaf = tlb.find(space.id, address) {
            counters.hits &+= 1
            last = leaf
            lastSpace = space.id
            return .leaf(leaf)
        }
        counters.misses &+= 1
        let lookup = space.walker.lookUp(address)
        if case .leaf(let leaf) = lookup {
            if tlb.insert(space.id, leaf) { counters.evictions &+= 1 }
            last = leaf
            lastSpace = space.id
        }
        return lookup
    }

    private func count(_ bytes: UInt64, _ intent: AccessKind) {
        if intent == .write {
            counters.bytesWritten &+= bytes
        } else {
            counters.bytesRead &+= bytes
        }
    }

    private func fault(
        _ space: AddressSpace, _ address: UInt64, _ intent: AccessKind, _ reason: FaultReason
    ) -> Translation {
        counters.faults &+= 1
        return .fault(Fault(space: space.id, address: address, access: intent, reason: reason))
    }
}
