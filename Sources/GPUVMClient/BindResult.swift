import CWireProtocol

/// The name of a job's fence, for ``Connection/fenceInfo(_:)``.
public struct FenceID: Hashable, Sendable, CustomStringConvertible {
    /// The queue's fence context.
    public let context: UInt64
    /// The position in the context.
    public let sequence: UInt64

    /// Names a fence.
    public init(context: UInt64, sequence: UInt64) {
        self.context = context
        self.sequence = sequence
    }

    /// "context:sequence".
    public var description: String { "\(context):\(sequence)" }
}

/// What a bind became.
public struct BindResult: Sendable {
    /// The bind job's fence.
    public let fence: FenceID
    /// The operations on the VA tree in their order; empty unless they were asked for.
    public let operations: [gpuvm_op_record]
    /// How many operations followed those: more than one reply has room for, or all of them if the
    /// daemon lacked the memory or the descriptor for a long reply. The bind itself is complete.
    public let omittedOperations: Int
}
