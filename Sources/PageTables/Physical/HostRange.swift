/// A run of host memory behind a physical address.
///
/// Valid as long as the frames behind it keep their owner; the MMU uses it inside one bounded
/// access and never keeps it.
public struct HostRange {
    /// The first byte.
    public var pointer: UnsafeMutableRawPointer
    /// How many bytes from `pointer` on are contiguous, at least 1.
    public var bytes: UInt64

    /// Describes `bytes` bytes at `pointer`.
    @inlinable
    public init(pointer: UnsafeMutableRawPointer, bytes: UInt64) {
        self.pointer = pointer
        self.bytes = bytes
    }
}
