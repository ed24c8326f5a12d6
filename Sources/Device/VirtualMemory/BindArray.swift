import Memory

/// The operations of one request, and the buffers that they name, each kept once.
///
/// Threading: none of its own.
struct BindArray {
    /// A buffer of the list, without a reference.
    struct Buffer: BitwiseCopyable {
        let object: Unmanaged<BufferObject>
        /// Its place in the list.
        let index: Int32
        /// Whether it may be mapped by one VM only.
        let isLocal: Bool
        /// Bytes.
        let size: UInt64
    }

    private(set) var steps: [BindStep] = []
    /// What the steps name; a buffer can be in it more than once.
    private(set) var buffers: [BufferObject] = []

    /// An array with room for `count` operations.
    init(capacity count: Int) { steps.reserveCapacity(count) }

    /// The operations of a public call.
    init(_ operations: [BindOperation]) {
        self.init(capacity: operations.count)
        for operation in operations { append(operation) }
    }

    var count: Int { steps.count }

    /// Keeps a buffer that steps are going to name.
    mutating func keep(_ buffer: BufferObject) -> Buffer {
        buffers.append(buffer)
        return kept(at: buffers.count - 1)
    }

    private func kept(at index: Int) -> Buffer {
        Buffer(
            object: Unmanaged.passUnretained(buffers[index]), index: Int32(index),
            isLocal: buffers[index].isLocal, size: buffers[index].size)
    }

    mutating func append(_ step: BindStep) { steps.append(step) }

    private mutating func append(_ operation: BindOperation) {
        guard let buffer = operation.buffer else {
            return append(
                BindStep(
                    operation.kind, address: operation.address, range: operation.range,
                    readOnly: operation.readOnly))
        }
        // Arrays name the same few buffers again and again.
        let known = buffers.suffix(8).firstIndex { $0 === buffer }.map { kept(at: $0) }
        append(
            BindStep(
                operation.kind, address: operation.address, range: operation.range,
                buffer: known ?? keep(buffer), offset: operation.offset,
                readOnly: operation.readOnly, pteKind: operation.pteKind))
    }
}
