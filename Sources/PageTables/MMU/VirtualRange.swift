/// A run of virtual addresses, in bytes.
public struct VirtualRange: Equatable, Sendable {
    /// The first address.
    public var address: UInt64
    /// The number of bytes.
    public var bytes: UInt64

    /// Describes `bytes` bytes at `address`.
    @inlinable
    public init(address: UInt64, bytes: UInt64) {
        self.address = address
        self.bytes = bytes
    }

    /// The addresses of a range.
    @inlinable
    public init(_ range: Range<UInt64>) {
        self.init(address: range.lowerBound, bytes: range.upperBound - range.lowerBound)
    }

    /// The last address of the range; nil if the range is empty.
    var last: UInt64? {
        guard bytes != 0 else { return nil }
        let (sum, overflow) = address.addingReportingOverflow(bytes - 1)
        return overflow ? .max : sum
    }
}
