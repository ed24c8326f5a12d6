import CPlatform

/// A binary buddy allocator over the frames of one memory region.
///
/// A request is served from blocks of a power of two of frames, the largest first, so that a buffer
/// gets long runs and with them large page-table leaves. Blocks are aligned to their size.
/// The algorithm is Knuth's (TAOCP 1, 2.5); the kernel's peer is drivers/gpu/drm/drm_buddy.c.
///
/// Threading: none of its own; ``MemoryRegion`` calls it under its lock. `allocate` is
/// O(blocks · log frames), `free` O(log frames) for each block.
struct BuddyAllocator: ~Copyable {
    /// A run of frames: the first one's number in the region, and how many.
    struct Run: Equatable {
        var first: UInt32
        var count: UInt32
    }

    /// The largest block: 2^18 frames, 1 GiB.
    static let maximumOrder = 18

    let frameCount: UInt32
    private(set) var freeFrames: UInt32

    // Free lists as links in flat arrays, one element a frame, of which only the heads of free
    // blocks count. NORESERVE memory: what is never touched costs nothing.
    private let next: UnsafeMutablePointer<UInt32>
    private let previous: UnsafeMutablePointer<UInt32>
    /// order + 1 for the head of a free block, 0 for every other frame.
    private let freeOrder: UnsafeMutablePointer<UInt8>
    private var heads: [UInt32]
    private let bytes: (links: Int, orders: Int)

    private static let none = UInt32.max

    /// Creates an allocator with all frames free; nil if the host has no address space left.
    init?(frameCount: UInt32) {
        let links = max(4096, Int(frameCount) * 4)
        let orders = max(4096, Int(frameCount))
        guard let next = gpuvm_reserve(links) else { return nil }
        guard let previous = gpuvm_reserve(links) else {
            gpuvm_unmap(next, links)
            return nil
        }
        guard let freeOrder = gpuvm_reserve(orders) else {
            gpuvm_unmap(next, links)
            gpuvm_unmap(previous, links)
            return nil
        }
        self.next = next.assumingMemoryBound(to: UInt32.self)
        self.previous = previous.assumingMemoryBound(to: UInt32.self)
        self.freeOrder = freeOrder.assumingMemoryBound(to: UInt8.self)
        self.frameCount = frameCount
        bytes = (links, orders)
        heads = Array(repeating: Self.none, count: Self.maximumOrder + 1)
        freeFrames = 0
        var first: UInt32 = 0
        while first < frameCount {
            let order = Self.largestOrder(at: first, within: frameCount - first)
            push(first, order)
            freeFrames += 1 << UInt32(order)
            first += 1 << UInt32(order)
        }
    }

    deinit {
        gpuvm_unmap(next, bytes.links)
        gpuvm_unmap(previous, bytes.links)
        gpuvm_unmap(freeOrder, bytes.orders)
    }

    /// Takes `count` frames as runs in order of descending block size, neighbours joined.
    ///
    /// - Returns: Nil, with nothing taken, if fewer frames are free.
    mutating func allocate(_ count: UInt32) -> [Run]? {
        guard count <= freeFrames else { return nil }
        var runs: [Run] = []
        var remaining = count
        while remaining > 0 {
            let wanted = min(Self.maximumOrder, Int(31 - remaining.leadingZeroBitCount))
            guard let (first, order) = takeBlock(wanted: wanted) else { break }
            let size = UInt32(1) << UInt32(order)
            if let last = runs.last, last.first + last.count == first {
                runs[runs.count - 1].count += size
            } else {
                runs.append(Run(first: first, count: size))
            }
            remaining -= size
        }
        freeFrames -= count
        return runs
    }

    /// Gives a run back, whatever blocks it was made of.
    mutating func free(_ run: Run) {
        var first = run.first
        let end = run.first + run.count
        freeFrames += run.count
        while first < end {
            let order = Self.largestOrder(at: first, within: end - first)
            release(first, order)
            first += 1 << UInt32(order)
        }
    }

    /// A block of at most `wanted`: split from a larger one if need be, else the largest there is.
    private mutating func takeBlock(wanted: Int) -> (UInt32, Int)? {
        if let order = (wanted...Self.maximumOrder).first(where: { heads[$0] != Self.none }) {
            let first = heads[order]
            remove(first, order)
            for half in stride(from: order - 1, through: wanted, by: -1) {
                push(first + (1 << UInt32(half)), half)
            }
            return (first, wanted)
        }
        guard let order = (0..<wanted).last(where: { heads[$0] != Self.none }) else { return nil }
        let first = heads[order]
        remove(first, order)
        return (first, order)
    }

    private mutating func release(_ block: UInt32, _ blockOrder: Int) {
        var first = block
        var order = blockOrder
        while order < Self.maximumOrder {
            let buddy = first ^ (1 << UInt32(order))
            guard buddy < frameCount, freeOrder[Int(buddy)] == UInt8(order + 1) else { break }
            remove(buddy, order)
            first = min(first, buddy)
            order += 1
        }
        push(first, order)
    }

    private mutating func push(_ first: UInt32, _ order: Int) {
        let head = heads[order]
        next[Int(first)] = head
        previous[Int(first)] = Self.none
        if head != Self.none { previous[Int(head)] = first }
        heads[order] = first
        freeOrder[Int(first)] = UInt8(order + 1)
    }

    private mutating func remove(_ first: UInt32, _ order: Int) {
        let after = next[Int(first)]
        let before = previous[Int(first)]
        if before == Self.none { heads[order] = after } else { next[Int(before)] = after }
        if after != Self.none { previous[Int(after)] = before }
        freeOrder[Int(first)] = 0
    }

    private static func largestOrder(at first: UInt32, within count: UInt32) -> Int {
        let alignment = first == 0 ? 31 : first.trailingZeroBitCount
        return min(maximumOrder, alignment, Int(31 - count.leadingZeroBitCount))
    }
}
