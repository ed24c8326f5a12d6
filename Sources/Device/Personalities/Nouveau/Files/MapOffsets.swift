/// The fake offsets at which an open file's buffers can be mapped (`drm_vma_offset_manager`).
///
/// Offsets are handed out in ascending order and never used twice in a file.
///
/// Threading: none of its own.
struct MapOffsets {
    private struct Entry {
        var start: UInt64
        var bytes: UInt64
        var handle: UInt32
    }

    /// Where the kernel's begin (DRM_FILE_PAGE_OFFSET_START).
    private static let base: UInt64 = 0x1_0000_0000
    private var next = base
    private var entries: [Entry] = []
    private var starts: [UInt32: UInt64] = [:]

    /// The offset of a buffer, given at the first call. Amortised O(1).
    mutating func offset(of handle: UInt32, bytes: UInt64) -> UInt64 {
        if let start = starts[handle] { return start }
        let start = next
        next += bytes
        entries.append(Entry(start: start, bytes: bytes, handle: handle))
        starts[handle] = start
        return start
    }

    /// Forgets a handle. O(handles).
    mutating func remove(_ handle: UInt32) {
        guard let start = starts.removeValue(forKey: handle) else { return }
        entries.remove(at: index(of: start))
    }

    /// The buffer that `length` bytes at `offset` are wholly in, and where in it. O(log handles).
    func find(_ offset: UInt64, length: UInt64) -> (handle: UInt32, offset: UInt64)? {
        let index = index(of: offset)
        guard index < entries.count, entries[index].start <= offset else { return nil }
        let inside = offset - entries[index].start
        guard inside < entries[index].bytes, length <= entries[index].bytes - inside else {
            return nil
        }
        return (entries[index].handle, inside)
    }

    /// The last entry that starts at or below `offset`; 0 if none does.
    private func index(of offset: UInt64) -> Int {
        var low = 0
        var high = entries.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if entries[middle].start <= offset { low = middle } else { high = middle }
        }
        return low
    }
}
