import Memory

/// The buffers that a call has named last: an array of operations names the same few again and again,
/// and a look at the file's handles takes its lock.
///
/// A handle that is closed meanwhile still names what it named when the call came.
struct RecentBuffers {
    private static let capacity = 8
    private var entries: [(handle: UInt32, buffer: BufferObject)] = []
    private var oldest = 0

    /// The buffer of a handle; `look` finds one that is not known.
    mutating func find<Failure: Error>(
        _ handle: UInt32, _ look: (UInt32) throws(Failure) -> BufferObject
    ) throws(Failure) -> BufferObject {
        for index in entries.indices where entries[index].handle == handle {
            return entries[index].buffer
        }
        let buffer = try look(handle)
        if entries.count < Self.capacity {
            entries.append((handle, buffer))
        } else {
            entries[oldest] = (handle, buffer)
            oldest = (oldest + 1) % Self.capacity
        }
        return buffer
    }
}
