import CPlatform
import Glibc

// @unchecked: the chunks and the free list are guarded by `lock`; a chunk's memory is atomic.
/// One client's fence pages: where the daemon tells it, in shared memory, what has signalled.
///
/// It grows by chunks of ``slotsPerChunk`` slots, each a sealed memfd of its own (layout and reading
/// rule: gpuvm_fence_page.h). Source of the idea: DESIGN decision 2.
///
/// Threading: any thread. Slots are written under the lock of the sync object that they mirror.
public final class FencePage: @unchecked Sendable {
    /// Slots in one chunk.
    public static let slotsPerChunk = Int(GPUVM_FENCE_SLOTS_PER_CHUNK)
    /// Bytes in one chunk.
    public static let chunkBytes = Int(GPUVM_FENCE_CHUNK_BYTES)

    private struct Chunk {
        let fd: Int32
        let base: UnsafeMutableRawPointer
    }

    private let lock = Lock(.fencePage)
    private let quota: Int
    private var chunks: [Chunk] = []
    private var freeSlots: [Int] = []
    private var slotsEverUsed = 0
    private var slotsInUse = 0

    /// Creates an empty set that hands out at most `quota` slots.
    public init(quota: Int) {
        self.quota = quota
    }

    deinit {
        for chunk in chunks {
            gpuvm_unmap(chunk.base, Self.chunkBytes)
            close(chunk.fd)
        }
    }

    /// The number of chunks: a client maps those that it does not have yet.
    public var chunkCount: Int { lock.withLock { chunks.count } }

    /// Slots that mirror an object now.
    public var usedSlots: Int { lock.withLock { slotsInUse } }

    /// The fd of a chunk, to be passed to the client; it stays this object's.
    ///
    /// The first chunk can be asked for before a slot is in use: a client maps it when it connects.
    ///
    /// - Throws: ``FencingError/invalidArgument(_:)`` for a chunk that there is not, or a system
    ///   error when the first one cannot be made.
    public func chunkFD(_ index: Int) throws(FencingError) -> Int32 {
        try lock.withLock { () throws(FencingError) in
            if index == 0 && chunks.isEmpty { chunks.append(try Self.makeChunk()) }
            guard chunks.indices.contains(index) else {
                throw .invalidArgument("no fence page chunk of this index")
            }
            return chunks[index].fd
        }
    }

    /// Has `syncobj` show its state in a slot of this client from now on.
    ///
    /// - Throws: ``FencingError/noSlot(quota:)`` when the quota is used up, or a system error when
    ///   another chunk is needed and cannot be made.
    public func allocateSlot(for syncobj: Syncobj) throws(FencingError) -> FenceSlot {
        let (index, writer) = try takeSlot()
        syncobj.addMirror(writer)
        return FenceSlot(page: self, index: index, writer: writer, syncobj: syncobj)
    }

    private func takeSlot() throws(FencingError) -> (Int, FenceSlotWriter) {
        try lock.withLock { () throws(FencingError) in
            guard slotsInUse < quota else { throw .noSlot(quota: quota) }
            let index: Int
            if let free = freeSlots.popLast() {
                index = free
            } else {
                if slotsEverUsed == chunks.count * Self.slotsPerChunk {
                    chunks.append(try Self.makeChunk())
                }
                index = slotsEverUsed
                slotsEverUsed += 1
            }
            slotsInUse += 1
            let (chunk, slot) = index.quotientAndRemainder(dividingBy: Self.slotsPerChunk)
            let base = chunks[chunk].base + slot * Int(GPUVM_FENCE_SLOT_BYTES)
            return (index, FenceSlotWriter(memory: FenceSlotMemory(base: base)))
        }
    }

    fileprivate func giveBack(_ index: Int, _ writer: FenceSlotWriter) {
        writer.clear()
        lock.withLock {
            freeSlots.append(index)
            slotsInUse -= 1
        }
    }

    private static func makeChunk() throws(FencingError) -> Chunk {
        let fd = gpuvm_memfd_create("gpuvm-fences", UInt64(chunkBytes))
        if fd < 0 { throw .system(errno: -fd, call: "memfd_create") }
        var error: Int32 = 0
        guard let base = gpuvm_map_shared(fd, 0, chunkBytes, 1, &error) else {
            close(fd)
            throw .system(errno: -error, call: "mmap")
        }
        // From here on no mapping but ours can be written through, whoever opens the memfd anew.
        let seals =
            GPUVM_SEAL_FUTURE_WRITE | GPUVM_SEAL_SHRINK | GPUVM_SEAL_GROW | GPUVM_SEAL_SEAL
        let sealed = gpuvm_add_seals(fd, seals)
        if sealed < 0 {
            gpuvm_unmap(base, chunkBytes)
            close(fd)
            throw .system(errno: -sealed, call: "fcntl(F_ADD_SEALS)")
        }
        return Chunk(fd: fd, base: base)
    }
}

// @unchecked: `isReleased` is guarded by `lock`.
/// One sync object's place in one client's fence pages, held as long as the client has the handle.
///
/// Threading: any thread; must not be released under a lock of class syncobj or further inside.
public final class FenceSlot: @unchecked Sendable {
    /// Which chunk (memfd) the slot is in.
    public var chunk: Int { index / FencePage.slotsPerChunk }
    /// Which slot of the chunk it is.
    public var slotInChunk: Int { index % FencePage.slotsPerChunk }
    /// The slot's number over all chunks: chunk × ``FencePage/slotsPerChunk`` + slot.
    public let index: Int
    /// The object that the slot shows.
    public let syncobj: Syncobj

    private let page: FencePage
    private let writer: FenceSlotWriter
    private let lock = Lock(.leaf)
    private var isReleased = false

    fileprivate init(page: FencePage, index: Int, writer: FenceSlotWriter, syncobj: Syncobj) {
        self.page = page
        self.index = index
        self.writer = writer
        self.syncobj = syncobj
    }

    deinit { release() }

    /// Gives the slot back; a client that still sleeps on it wakes up. Later calls do nothing.
    public func release() {
        let isFirst = lock.withLock {
            defer { isReleased = true }
            return !isReleased
        }
        guard isFirst else { return }
        syncobj.removeMirror(writer)
        page.giveBack(index, writer)
    }
}
