/// What a map may newly cost in each aligned span of one size that it touches.
public struct TableCharge: Sendable, Equatable {
    /// A span has `1 << shift` bytes.
    public var shift: UInt64
    /// How many pages one map can newly cost a span.
    public var pages: Int
    /// Whether the span may become one leaf, whose reserve comes on top of the tables that it
    /// replaces.
    public var isLeaf: Bool

    /// How many spans of this size a range touches, which is not empty.
    @inline(__always)
    func spans(from address: UInt64, to last: UInt64) -> Int {
        Int((last &>> shift) &- (address &>> shift) &+ 1)
    }
}
