/// An upload out of the push buffer under way: lines of bytes, four to each LOAD_INLINE_DATA,
/// without padding between lines.
///
/// Source: NVIDIA open-gpu-doc, `cla140.h`.
struct InlineUpload {
    private(set) var destination = Surface(address: 0)
    private var lineBytes: UInt64 = 0
    private var linesLeft: UInt64 = 0
    private var line: UInt64 = 0
    private var position: UInt64 = 0

    /// Nothing to do.
    init() {}

    init(to destination: Surface, lineBytes: UInt32, lines: UInt32) {
        self.destination = destination
        self.lineBytes = UInt64(lineBytes)
        linesLeft = lineBytes == 0 ? 0 : UInt64(lines)
    }

    var isActive: Bool { linesLeft != 0 }

    /// Where the next byte goes.
    var nextAddress: UInt64 { destination.address(x: position, y: line) }

    /// How many of at most `limit` bytes go there together.
    func contiguous(_ limit: UInt64) -> UInt64 {
        destination.contiguous(x: position, limit: min(limit, lineBytes &- position))
    }

    /// Counts `bytes` bytes as written.
    mutating func advance(_ bytes: UInt64) {
        position &+= bytes
        if position == lineBytes {
            position = 0
            line &+= 1
            linesLeft &-= 1
        }
    }
}
