/// A job that has ended, for traces.
public struct JobReport: Sendable, Equatable {
    /// What executes it.
    public enum Kind: String, Sendable {
        /// Page tables are rewritten.
        case bind
        /// An engine executes commands.
        case exec
    }

    /// What executed it.
    public var kind: Kind
    /// The client's id.
    public var client: UInt32
    /// The VM's device-wide id.
    public var vm: UInt32
    /// The queue's device-wide id; 0 for a bind.
    public var queue: UInt32 = 0
    /// CLOCK_MONOTONIC ns of its first slice; 0 if it never ran.
    public var began: UInt64
    /// CLOCK_MONOTONIC ns of its end, before its fence signalled.
    public var ended: UInt64
    /// Its fence's error, positive; 0 for success.
    public var error: Int32
}
