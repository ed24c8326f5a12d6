/// A segment of a push buffer: method headers and their data.
public struct NVIDIAPush: Equatable, Sendable {
    /// The GPU VA of the first dword, a multiple of 4.
    public var address: UInt64
    /// The length in bytes, a multiple of 4; 0 is an empty segment.
    public var bytes: UInt64

    /// Describes `bytes` bytes of methods at `address`.
    public init(address: UInt64, bytes: UInt64) {
        self.address = address
        self.bytes = bytes
    }
}
