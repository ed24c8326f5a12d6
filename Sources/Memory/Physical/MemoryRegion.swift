import CPlatform
import Fencing
import Glibc
import PageTables
import Synchronization

// @unchecked: the pointer is to memory that lives as long as the region and holds atomics only.
/// A contiguous range of the physical address space: its frames, who owns them and which are free.
///
/// A frame is 4 KiB. The frame table holds, for each frame, the host page that backs it, or 0 for a
/// frame without an owner: an access there is a machine check, so that a stale page-table or TLB
/// entry can never read the right data by luck.
///
/// Threading: any thread; the allocator is under a lock of class `memory`, the frame table is read
/// without a lock. A frame's entry is cleared only after every engine has acknowledged the
/// invalidation of the translations that led to it.
public final class MemoryRegion: @unchecked Sendable {
    /// What buffers in this region are said to be placed in.
    public let placement: Placement
    /// The first frame's physical address.
    public let base: PhysicalAddress
    /// Size in bytes, a multiple of the frame size.
    public let bytes: UInt64

    private let allocator: Guarded<FrameAllocator>
    private let hostPages: UnsafeMutablePointer<Atomic<UInt>>
    private let tableBytes: Int

    /// Creates a region without owners.
    ///
    /// - Parameters:
    ///   - base: A multiple of 1 GiB, so that an aligned block is aligned physically.
    ///   - bytes: At least one frame, at most 2^43 (2^31 frames).
    /// - Throws: ``MemoryError/system(errno:call:)`` if the host has no address space left.
    public init(
        placement: Placement, base: PhysicalAddress, bytes: UInt64
    ) throws(MemoryError) {
        precondition(base % (1 << 30) == 0 && bytes >= frameSize && bytes < 1 << 43)
        let frames = UInt32(bytes / frameSize)
        tableBytes = Int(frames) * MemoryLayout<Atomic<UInt>>.stride
        guard let table = gpuvm_reserve(tableBytes), let buddy = BuddyAllocator(frameCount: frames)
        else { throw .system(errno: ENOMEM, call: "mmap") }
        // Zero bytes are valid atomics that hold 0.
        hostPages = table.bindMemory(to: Atomic<UInt>.self, capacity: Int(frames))
        allocator = Guarded(.memory, FrameAllocator(buddy: buddy))
        self.placement = placement
        self.base = base
        self.bytes = UInt64(frames) * frameSize
    }

    deinit { gpuvm_unmap(hostPages, tableBytes) }

    /// Bytes that no buffer holds.
    public var freeBytes: UInt64 { allocator.withLock { UInt64($0.buddy.freeFrames) * frameSize } }

    /// Bytes held.
    public var usedBytes: UInt64 { bytes - freeBytes }

    /// Whether `address` lies in this region.
    @inline(__always)
    public func contains(_ address: PhysicalAddress) -> Bool {
        address >= base && address - base < bytes
    }

    /// Takes frames for `length` bytes, a multiple of the frame size; they have no owner yet.
    ///
    /// - Returns: The frames, and the fences of the moves that still have to leave them.
    /// - Throws: ``MemoryError/exhausted(_:wanted:free:)`` with nothing taken.
    func allocate(
        length: UInt64
    ) throws(MemoryError) -> (extents: [PhysicalExtent], leaving: [Fence]) {
        let frames = UInt32(truncatingIfNeeded: length / frameSize)
        let outcome = allocator.withLock { allocator -> Result<FrameAllocator.Grant, MemoryError> in
            guard length <= bytes, let grant = allocator.allocate(frames) else {
                let free = UInt64(allocator.buddy.freeFrames) * frameSize
                return .failure(.exhausted(placement, wanted: length, free: free))
            }
            return .success(grant)
        }
        let grant = try outcome.get()
        return (grant.runs.map(extent), grant.leaving)
    }

    /// Gives frames back to the allocator.
    ///
    /// - Parameter fence: Signals when the frames have lost their owner; nil if they have.
    func release(_ extents: [PhysicalExtent], after fence: Fence?) {
        allocator.withLock { allocator in
            for extent in extents { allocator.release(run(extent), after: fence) }
        }
    }

    private func extent(_ run: BuddyAllocator.Run) -> PhysicalExtent {
        PhysicalExtent(
            address: base + UInt64(run.first) * frameSize, bytes: UInt64(run.count) * frameSize)
    }

    private func run(_ extent: PhysicalExtent) -> BuddyAllocator.Run {
        BuddyAllocator.Run(
            first: UInt32((extent.address - base) / frameSize),
            count: UInt32(extent.bytes / frameSize))
    }

    // MARK: the frame table; allocates nothing, may be called on the signalling path

    /// Gives frames to the host memory at `host`, which stays mapped until ``clear(_:)``.
    func assign(_ extent: PhysicalExtent, to host: UnsafeMutableRawPointer) {
        let run = run(extent)
        var page = UInt(bitPattern: host)
        var frame = hostPages + Int(run.first)
        let end = frame + Int(run.count)
        while frame < end {
            frame.pointee.store(page, ordering: .releasing)
            page &+= UInt(frameSize)
            frame += 1
        }
    }

    /// Takes frames away from their owner: every access from now on is a machine check.
    func clear(_ extent: PhysicalExtent) {
        let run = run(extent)
        var frame = hostPages + Int(run.first)
        let end = frame + Int(run.count)
        while frame < end {
            frame.pointee.store(0, ordering: .releasing)
            frame += 1
        }
    }

    /// The host memory behind `address` and how far, at most `limit` bytes, it goes on without a
    /// gap; nil for a frame without an owner.
    @inline(__always)
    func resolve(_ address: PhysicalAddress, limit: UInt64) -> HostRange? {
        let offset = address - base
        var frame = Int(offset / frameSize)
        let page = hostPages[frame].load(ordering: .acquiring)
        guard page != 0 else { return nil }
        let inPage = offset % frameSize
        var length = frameSize - inPage
        var expected = page
        let frames = Int(bytes / frameSize)
        while length < limit {
            frame += 1
            expected &+= UInt(frameSize)
            guard frame < frames, hostPages[frame].load(ordering: .acquiring) == expected else {
                break
            }
            length += frameSize
        }
        guard let pointer = UnsafeMutableRawPointer(bitPattern: page) else { return nil }
        return HostRange(pointer: pointer + Int(inPage), bytes: min(length, limit))
    }
}
