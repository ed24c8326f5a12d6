/// A run of physically contiguous frames.
///
/// Both numbers are multiples of ``frameSize``.
public struct PhysicalExtent: Equatable, Sendable {
    /// The first frame's address.
    public var address: PhysicalAddress
    /// The length in bytes, not 0.
    public var bytes: UInt64

    /// Describes `bytes` bytes of frames at `address`.
    @inlinable
    public init(address: PhysicalAddress, bytes: UInt64) {
        self.address = address
        self.bytes = bytes
    }
}
