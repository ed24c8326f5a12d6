/// What a map may newly cost in each aligned span of one size that it touches.
public struct TableCharge: Sendable, Equatable {
    /// A span has `1 << shift` bytes.
    public var shift: UInt64
    /// How many pages one map can newly cost a span.
    public var pages: Int
    /// Whether the span may become one leaf, whose reserve comes on top of the tables that it
    /// replaces.
    public var isLeaf: Bool
    /// Whether a span that reads zero throughout is one entry that holds nothing in reserve: a null
    /// map costs only the spans at its edges, of which it covers a part.
    public var isFreeWhenNull = false

    /// How many spans of this size a range touches, which is not empty.
    @inline(__always)
    func spans(from address: UInt64, to last: UInt64) -> Int {
        Int((last &>> shift) &- (address &>> shift) &+ 1)
    }

    /// How many of the spans a range touches it covers in part.
    @inline(__always)
    func partialSpans(from address: UInt64, to last: UInt64) -> Int {
        let startsWithin = address & mask != 0
        let endsWithin = last & mask != mask
        if address &>> shift == last &>> shift { return startsWithin || endsWithin ? 1 : 0 }
        return (startsWithin ? 1 : 0) &+ (endsWithin ? 1 : 0)
    }

    /// Whether a range covers all of the span with the index `span`.
    @inline(__always)
    func isWhole(_ span: UInt64, from address: UInt64, to last: UInt64) -> Bool {
        address <= span &<< shift && last >= span &<< shift | mask
    }

    /// Whether a null map of a range takes away the tables of spans that hold nothing but a table.
    func losesTable(from address: UInt64, to last: UInt64) -> Bool {
        !isLeaf && isFreeWhenNull
            && spans(from: address, to: last) > partialSpans(from: address, to: last)
    }

    private var mask: UInt64 { (1 &<< shift) &- 1 }
}
