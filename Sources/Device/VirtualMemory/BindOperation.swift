import Memory

/// One operation of a VM_BIND array, its handle resolved.
public struct BindOperation: Sendable {
    /// What is asked for; the numbers are the wire's.
    public enum Kind: UInt32, Sendable, BitwiseCopyable {
        /// Map a range of a buffer.
        case map = 0
        /// Unmap whatever lies in a range.
        case unmap = 1
        /// Map a range that reads zero and drops writes.
        case mapNull = 2
        /// Unmap a buffer wherever the VM maps it.
        case unmapAll = 3
        /// Make what a range maps resident.
        case prefetch = 4
        /// Make a sparse region; a personality's, not on the wire.
        case createSparse = 0x100
        /// Unmap what is mapped in a sparse region, and the region; a personality's.
        case removeSparse = 0x101

        /// Whether the native protocol has it.
        public var isNative: Bool { rawValue < 0x100 }
    }

    /// What is asked for.
    public var kind: Kind
    /// With the maps: a write faults.
    public var readOnly: Bool
    /// With `map` and `unmapAll`.
    public var buffer: BufferObject?
    /// First byte's GPU virtual address; a multiple of the page size.
    public var address: UInt64
    /// Bytes; a multiple of the page size, not 0 but for `unmapAll`.
    public var range: UInt64
    /// Bytes into the buffer; a multiple of the page size.
    public var offset: UInt64
    /// With `map`: how the hardware lays the memory's content out; a personality's number.
    public var pteKind: UInt8 = 0

    /// Makes an operation; nothing is checked here.
    public init(
        _ kind: Kind, address: UInt64 = 0, range: UInt64 = 0, buffer: BufferObject? = nil,
        offset: UInt64 = 0, readOnly: Bool = false
    ) {
        self.kind = kind
        self.readOnly = readOnly
        self.buffer = buffer
        self.address = address
        self.range = range
        self.offset = offset
    }
}
