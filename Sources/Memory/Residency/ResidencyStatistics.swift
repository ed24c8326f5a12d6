/// What memory pressure has led to since the device was made.
public struct ResidencyStatistics: Equatable, Sendable {
    /// Buffers that had to leave VRAM.
    public var evictions: UInt64 = 0
    /// Buffers that were brought back.
    public var restores: UInt64 = 0
    /// Bytes of both.
    public var bytesMoved: UInt64 = 0
    /// Buffers that are in VRAM now.
    public var residentBuffers: UInt64 = 0
    /// Buffers that want to be in VRAM and are not.
    public var evictedBuffers: UInt64 = 0
}
