import PageTables

/// What a page table should say, kept as plainly as possible: a list of segments without overlap.
struct NaiveMap {
    struct Segment: Equatable {
        var start: UInt64
        var end: UInt64
        /// nil: null.
        var physical: PhysicalAddress?
        var flags: PTEFlags
        var kind: UInt8 = 0
    }

    private(set) var segments: [Segment] = []

    mutating func unmap(_ start: UInt64, _ end: UInt64) {
        var kept: [Segment] = []
        for segment in segments {
            if segment.end <= start || segment.start >= end {
                kept.append(segment)
                continue
            }
            if segment.start < start {
                var left = segment
                left.end = start
                kept.append(left)
            }
            if segment.end > end {
                var right = segment
                right.physical = segment.physical.map { $0 + (end - segment.start) }
                right.start = end
                kept.append(right)
            }
        }
        segments = kept
    }

    mutating func map(
        _ start: UInt64, _ extents: [PhysicalExtent], _ flags: PTEFlags, kind: UInt8 = 0
    ) {
        unmap(start, start + extents.reduce(0) { $0 + $1.bytes })
        var address = start
        for extent in extents {
            segments.append(
                Segment(
                    start: address, end: address + extent.bytes, physical: extent.address,
                    flags: flags, kind: kind))
            address += extent.bytes
        }
    }

    mutating func mapNull(_ start: UInt64, _ end: UInt64, _ flags: PTEFlags) {
        unmap(start, end)
        segments.append(Segment(start: start, end: end, physical: nil, flags: flags))
    }

    func find(_ address: UInt64) -> Segment? {
        segments.first { $0.start <= address && address < $0.end }
    }

    /// The leaves that the table should have: in each maximal run, the largest that fit.
    func expectedLeaves(shifts: [UInt64] = [30, 21, 16, 12]) -> [PageTableLeaf] {
        var runs: [Segment] = []
        for segment in segments.sorted(by: { $0.start < $1.start }) {
            if var last = runs.last, last.end == segment.start, last.flags == segment.flags,
                last.kind == segment.kind,
                (last.physical == nil) == (segment.physical == nil),
                last.physical.map({ $0 + (last.end - last.start) }) == segment.physical
            {
                last.end = segment.end
                runs[runs.count - 1] = last
            } else {
                runs.append(segment)
            }
        }
        var leaves: [PageTableLeaf] = []
        for run in runs {
            var address = run.start
            while address < run.end {
                let physical = run.physical.map { $0 + (address - run.start) }
                let alignment = address | (physical ?? 0)
                let shift = shifts.first { (shift: UInt64) -> Bool in
                    let size: UInt64 = 1 << shift
                    return alignment % size == 0 && run.end - address >= size
                }!
                leaves.append(
                    PageTableLeaf(
                        address: address, physical: physical ?? 0, sizeShift: UInt8(shift),
                        isNull: physical == nil, flags: run.flags, kind: run.kind))
                address += 1 << shift
            }
        }
        return leaves
    }
}
