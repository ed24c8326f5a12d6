import Fencing
import GPUVMCore
import PageTables
import Synchronization

// @unchecked: its superclass synchronises itself, and what it adds is immutable.
/// A buffer: shared memory of the host, and the frames that it has in the physical address space.
///
/// The backing (descriptor, host mapping) lives exactly as long as the buffer, so that CPU mappings
/// stay valid; clients map the memfd itself. The frames are given back when the last holder lets
/// go: handles, VM/BO pairs, and bind jobs that have still to take the buffer out of a page table.
///
/// Threading: immutable but for what ``GPUVMObject`` guards.
public final class BufferObject: GPUVMObject, @unchecked Sendable {
    /// Unique in the device, never used again.
    public let id: UInt64
    /// What reports call it.
    public let name: String
    /// Size in bytes, a multiple of the page size.
    public let size: UInt64
    /// The memory that clients map.
    public let backing: SharedMemory
    /// The frames, in the order of the buffer's bytes.
    public let extents: [PhysicalExtent]
    /// Whether the buffer shares one VM's reservation and only that VM may map it.
    public let isLocal: Bool
    /// The kind of memory that the frames are.
    public var placement: Placement { region.placement }

    private let region: MemoryRegion
    private let account: (any Sendable)?
    /// Byte offsets at which the extents begin; ascending.
    private let extentOffsets: [UInt64]
    private static let lastID = Atomic<UInt64>(0)

    /// Gives `backing` frames in `region`.
    ///
    /// - Parameters:
    ///   - account: Kept as long as the buffer's memory: who it is charged to.
    ///   - reservation: That of the VM that the buffer is local to; nil for one of its own.
    /// - Throws: ``MemoryError/exhausted(_:wanted:free:)``.
    public init(
        name: String, backing: SharedMemory, region: MemoryRegion,
        localTo reservation: Reservation? = nil, account: (any Sendable)? = nil
    ) throws(MemoryError) {
        let extents = try region.allocate(length: backing.bytes, backedBy: backing.host)
        var offset: UInt64 = 0
        extentOffsets = extents.map { extent in
            defer { offset += extent.bytes }
            return offset
        }
        id = Self.lastID.add(1, ordering: .relaxed).newValue
        self.name = name
        size = backing.bytes
        self.backing = backing
        self.extents = extents
        self.region = region
        self.account = account
        isLocal = reservation != nil
        super.init(reservation: reservation ?? Reservation())
    }

    deinit { region.free(extents) }

    /// Appends the frames of `length` bytes from `offset` on to `list`.
    ///
    /// - Parameters: both multiples of the page size, the range inside the buffer.
    /// - Complexity: O(log extents + appended).
    public func appendExtents(
        offset: UInt64, length: UInt64, to list: inout [PhysicalExtent]
    ) {
        var low = 0
        var high = extentOffsets.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if extentOffsets[middle] <= offset { low = middle } else { high = middle }
        }
        var position = offset
        let end = offset + length
        while position < end {
            let skip = position - extentOffsets[low]
            let bytes = min(extents[low].bytes - skip, end - position)
            list.append(PhysicalExtent(address: extents[low].address + skip, bytes: bytes))
            position += bytes
            low += 1
        }
    }
}
