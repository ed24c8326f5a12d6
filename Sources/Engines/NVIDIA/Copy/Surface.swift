/// One side of a copy: lines of bytes in memory.
struct Surface {
    /// The GPU VA of the first line, or of the first block.
    var address: UInt64
    /// From line to line in bytes, if the layout is pitch.
    var pitch: UInt64 = 0
    /// Nil for pitch.
    var layout: BlockLinearLayout?
    /// Where the copy begins, in bytes and lines; 0 for pitch.
    var originX: UInt64 = 0
    var originY: UInt64 = 0

    /// The GPU VA of a byte, counted from the origin.
    func address(x: UInt64, y: UInt64) -> UInt64 {
        if let layout {
            return address &+ layout.offset(x: originX &+ x, y: originY &+ y)
        }
        return address &+ y &* pitch &+ x
    }

    /// How many bytes from `x` on are contiguous, at most `limit`.
    func contiguous(x: UInt64, limit: UInt64) -> UInt64 {
        guard layout != nil else { return limit }
        let run = BlockLinearLayout.run
        return min(limit, run &- ((originX &+ x) & (run &- 1)))
    }
}
