/// What an engine wants to do with memory.
public enum AccessKind: UInt8, Sendable {
    /// Loads data.
    case read
    /// Stores data.
    case write
    /// Loads commands; needs what a read needs.
    case fetch
}
