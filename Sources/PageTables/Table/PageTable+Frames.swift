import Synchronization

/// The lowest level: entries of single frames, and the contiguous groups among them.
extension FormattedPageTable {
    /// Stores `count` entries, each `step` larger than the one before.
    ///
    /// The one hot loop: nothing in it but the store.
    @inline(__always)
    static func fill(
        _ first: UnsafeMutablePointer<Atomic<UInt64>>, _ count: Int, _ entry: UInt64, step: UInt64
    ) {
        var slot = first
        let end = first + count
        var value = entry
        while slot != end {
            slot.pointee.store(value, ordering: .releasing)
            value &+= step
            slot += 1
        }
    }

    func writeFrames(
        _ table: UInt32, from start: UInt64, to end: UInt64, source: inout LeafSource
    ) {
        let first = Format.index(start, 0)
        let last = first &+ Int((end &- start) &>> frameShift)
        let entries = pool.entries(table)
        let live = Int(pool.live[Int(table)])
        let replaced = countValid(entries, first, last, live: live)
        separateEdgeGroups(entries, first, last)
        var slot = first
        while slot < last {
            let count = min(last &- slot, Int(source.runBytes &>> frameShift))
            precondition(count > 0, "the extents are shorter than the range")
            writeRun(entries, slot, count, source)
            source.advance(UInt64(count) &<< frameShift)
            slot &+= count
        }
        pool.live[Int(table)] = UInt16(live &+ (last &- first) &- replaced)
        joinEdgeGroups(entries, first, last)
    }

    /// Invalidates the entries of `start..<end` that lie in one table of level 0.
    func clearFrames(_ table: UInt32, from start: UInt64, to end: UInt64) {
        let first = Format.index(start, 0)
        let last = first &+ Int((end &- start) &>> frameShift)
        let entries = pool.entries(table)
        let live = Int(pool.live[Int(table)])
        let removed = countValid(entries, first, last, live: live)
        guard removed != 0 else { return }
        separateEdgeGroups(entries, first, last)
        Self.fill(entries + first, last &- first, 0, step: 0)
        pool.live[Int(table)] = UInt16(live &- removed)
    }

    /// Writes a contiguous run, with the hint on each aligned group that lies wholly in it.
    @inline(__always)
    private func writeRun(
        _ entries: UnsafeMutablePointer<Atomic<UInt64>>, _ slot: Int, _ count: Int,
        _ source: LeafSource
    ) {
        let group = Format.contiguousEntries &- 1
        let entry: UInt64
        let step: UInt64
        let canJoin: Bool
        if source.isNull {
            entry = Format.nullEntry(level: 0, flags: source.flags)
            step = 0
            canJoin = count > group
        } else {
            entry = Format.memoryEntry(source.physical, level: 0, flags: source.flags)
            step = Format.memoryStep(0)
            let frame = Int(truncatingIfNeeded: source.physical &>> frameShift)
            canJoin = count > group && (frame ^ slot) & group == 0
        }
        guard canJoin else {
            Self.fill(entries + slot, count, entry, step: step)
            return
        }
        let head = min(count, (0 &- slot) & group)
        let middle = (count &- head) & ~group
        let tail = count &- head &- middle
        let first = entries + slot
        Self.fill(first, head, entry, step: step)
        Self.fill(
            first + head, middle, (entry &+ step &* UInt64(head)) | Format.contiguousHint,
            step: step)
        Self.fill(
            first + (head &+ middle), tail, entry &+ step &* UInt64(head &+ middle), step: step)
    }

    @inline(__always)
    private func countValid(
        _ entries: UnsafeMutablePointer<Atomic<UInt64>>, _ first: Int, _ last: Int, live: Int
    ) -> Int {
        if live == 0 { return 0 }
        if live == Format.entriesPerTable { return last &- first }
        var count = 0
        for slot in first..<last where entries[slot].load(ordering: .relaxed) != 0 { count &+= 1 }
        return count
    }

    /// Takes the hint from the groups that the range `first..<last` covers in part, before it
    /// changes them: the rest of such a group is a 64 KiB leaf no longer.
    @inline(__always)
    private func separateEdgeGroups(
        _ entries: UnsafeMutablePointer<Atomic<UInt64>>, _ first: Int, _ last: Int
    ) {
        let group = Format.contiguousEntries &- 1
        if first & group != 0 { separate(entries + (first & ~group)) }
        if last & group != 0 { separate(entries + (last & ~group)) }
    }

    private func separate(_ group: UnsafeMutablePointer<Atomic<UInt64>>) {
        guard group.pointee.load(ordering: .relaxed) & Format.contiguousHint != 0 else { return }
        for slot in 0..<Format.contiguousEntries {
            let entry = group[slot].load(ordering: .relaxed)
            group[slot].store(entry & ~Format.contiguousHint, ordering: .releasing)
        }
    }

    /// Gives the hint to the groups at the range's two ends that the range has completed.
    @inline(__always)
    private func joinEdgeGroups(
        _ entries: UnsafeMutablePointer<Atomic<UInt64>>, _ first: Int, _ last: Int
    ) {
        let group = Format.contiguousEntries &- 1
        if first & group != 0 { join(entries + (first & ~group)) }
        if last & group != 0 && (last & ~group != first & ~group || first & group == 0) {
            join(entries + (last & ~group))
        }
    }

    private func join(_ group: UnsafeMutablePointer<Atomic<UInt64>>) {
        let count = Format.contiguousEntries
        let first = group.pointee.load(ordering: .relaxed)
        let step: UInt64
        switch Format.decode(first, level: 0) {
        case .memory(let physical, _, contiguous: false):
            guard physical & (UInt64(count) &* frameSize &- 1) == 0 else { return }
            step = Format.memoryStep(0)
        case .null(_, contiguous: false):
            step = 0
        case .memory, .null, .invalid, .malformed, .table:
            return
        }
        for slot in 1..<count {
            let expected = first &+ step &* UInt64(slot)
            guard group[slot].load(ordering: .relaxed) == expected else { return }
        }
        Self.fill(group, count, first | Format.contiguousHint, step: step)
    }
}
