import PageTables

/// The frames that a buffer has: where each of its bytes is in the physical address space.
///
/// Threading: immutable.
public final class BufferFrames: Sendable {
    let region: MemoryRegion
    /// The frames, in the order of the buffer's bytes.
    public let extents: [PhysicalExtent]
    /// Byte offsets at which the extents begin; ascending.
    private let offsets: [UInt64]
    /// How much memory they are.
    public let bytes: UInt64

    init(_ extents: [PhysicalExtent], in region: MemoryRegion) {
        self.region = region
        self.extents = extents
        var offset: UInt64 = 0
        offsets = extents.map { extent in
            defer { offset += extent.bytes }
            return offset
        }
        bytes = offset
    }

    /// The kind of memory that they are.
    public var placement: Placement { region.placement }

    /// Appends the frames of `length` bytes from `offset` on to `list`.
    ///
    /// - Parameters: both multiples of the page size, the range inside the buffer.
    /// - Complexity: O(log extents + appended).
    public func append(offset: UInt64, length: UInt64, to list: inout [PhysicalExtent]) {
        forEachExtent(offset: offset, length: length) { list.append($0) }
    }

    /// Calls `body` with each run of frames of `length` bytes from `offset` on; allocates nothing.
    public func forEachExtent(
        offset: UInt64, length: UInt64, _ body: (PhysicalExtent) -> Void
    ) {
        var low = 0
        var high = offsets.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if offsets[middle] <= offset { low = middle } else { high = middle }
        }
        var position = offset
        let end = offset + length
        while position < end {
            let skip = position - offsets[low]
            let bytes = min(extents[low].bytes - skip, end - position)
            body(PhysicalExtent(address: extents[low].address + skip, bytes: bytes))
            position += bytes
            low += 1
        }
    }
}
