/// A stream of commands in a VM.
public struct CommandBatch: Equatable, Sendable {
    /// The GPU VA of the first command, a multiple of 4.
    public var address: UInt64
    /// The bytes that commands are fetched from, beginning at `address`; 0 for no limit.
    ///
    /// With a limit the batch ends by its END command all the same: a command beyond it, be it by a
    /// jump or by running on, is an error.
    public var bytes: UInt64

    /// Describes a batch.
    public init(address: UInt64, bytes: UInt64 = 0) {
        self.address = address
        self.bytes = bytes
    }

    /// Whether `count` dwords at `command` may be fetched.
    func contains(_ command: UInt64, dwords count: Int) -> Bool {
        if bytes == 0 { return true }
        let offset = command &- address
        return offset <= bytes && UInt64(count) * 4 <= bytes - offset
    }
}
