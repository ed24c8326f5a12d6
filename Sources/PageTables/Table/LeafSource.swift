/// What a map operation still has to map: a walk over its extents that joins neighbours, or a number of
/// bytes without memory.
///
/// `physical` and `runBytes` describe the longest contiguous run at the current position, so that
/// leaf sizes do not depend on how the caller cut its extents. Each extent is looked at once.
struct LeafSource {
    let flags: PTEFlags
    let isNull: Bool
    /// Whether what has no memory faults and keeps its tables, and does not read zero.
    let isHeld: Bool
    /// Where what has no memory may become one leaf with what is there.
    let joined: Range<UInt64>
    private(set) var physical: PhysicalAddress = 0
    private(set) var runBytes: UInt64 = 0
    private let extents: UnsafeBufferPointer<PhysicalExtent>
    /// Runs end here even if the next extent continues them.
    private let border: PhysicalAddress
    private var nextExtent = 0

    /// Memory.
    init(
        extents: UnsafeBufferPointer<PhysicalExtent>, flags: PTEFlags, border: PhysicalAddress = 0
    ) {
        self.extents = extents
        self.flags = flags
        self.border = border
        isNull = false
        isHeld = false
        joined = 0..<0
        loadRun()
    }

    /// `bytes` bytes of nothing.
    init(
        nullBytes bytes: UInt64, flags: PTEFlags, joining joined: Range<UInt64> = 0..<(.max),
        isHeld: Bool = false
    ) {
        extents = UnsafeBufferPointer(start: nil, count: 0)
        self.flags = flags
        border = 0
        isNull = true
        self.isHeld = isHeld
        self.joined = joined
        runBytes = bytes
    }

    /// Whether the next `span` bytes can be one leaf.
    @inline(__always)
    func fits(_ span: UInt64) -> Bool { runBytes >= span && physical & (span &- 1) == 0 }

    @inline(__always)
    mutating func advance(_ bytes: UInt64) {
        runBytes &-= bytes
        if !isNull { physical &+= bytes }
        if runBytes == 0 { loadRun() }
    }

    private mutating func loadRun() {
        guard nextExtent < extents.count else { return }
        physical = extents[nextExtent].address
        runBytes = extents[nextExtent].bytes
        nextExtent += 1
        while nextExtent < extents.count, extents[nextExtent].address == physical &+ runBytes,
            extents[nextExtent].address != border
        {
            runBytes &+= extents[nextExtent].bytes
            nextExtent += 1
        }
    }
}
