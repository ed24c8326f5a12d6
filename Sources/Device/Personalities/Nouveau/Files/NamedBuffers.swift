import Memory

/// The buffers that a call has named last: an array of operations names the same few
/// again and again, and a look at the file's handles takes its lock.
///
/// A handle that is closed meanwhile still names what it named when the call came.
struct NamedBuffers {
    private static let capacity = 8
    private var entries: [(handle: UInt32, buffer: BindArray.Buffer)] = []
    private var oldest = 0

    /// A handle's buffer, kept by `array`; `look` finds one that is not known.
    mutating func buffer<Failure: Error>(
        of handle: UInt32, in array: inout BindArray,
        _ look: (UInt32) throws(Failure) -> BufferObject
    ) throws(Failure) -> BindArray.Buffer {
        for index in entries.indices where entries[index].handle == handle {
            return entries[index].buffer
        }
        let buffer = array.keep(try look(handle))
        if entries.count < Self.capacity {
            entries.append((handle, buffer))
        } else {
            entries[oldest] = (handle, buffer)
            oldest = (oldest + 1) % Self.capacity
        }
        return buffer
    }
}
