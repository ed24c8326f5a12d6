/// How much an engine does in one go.
public struct EngineQuantum: Equatable, Sendable {
    /// Commands begun, at least 1.
    public var commands: Int
    /// Bytes copied or filled, at least 1; a piece of fewer than 256 bytes costs 256.
    public var bytes: UInt64
    /// Bytes moved under one hold of the MMU's lock, at least 1: an invalidation waits for no more.
    public var chunkBytes: UInt64

    /// Creates a quantum; the defaults take about a millisecond.
    public init(commands: Int = 4096, bytes: UInt64 = 4 << 20, chunkBytes: UInt64 = 64 << 10) {
        self.commands = max(1, commands)
        self.bytes = max(1, bytes)
        self.chunkBytes = max(1, chunkBytes)
    }
}
