/// Copies that continue each other: drivers cut a large one into pieces that the hardware can count.
struct CopyRun {
    /// A copy from this length on leaves the caches alone, as a memcpy of that length would: larger than
    /// what the caches of a core hold.
    static let streamedBytes: UInt64 = 16 << 20

    private var sourceEnd: UInt64 = 0
    private var destinationEnd: UInt64 = 0
    private var bytes: UInt64 = 0

    /// Whether the run is long, with `transfer` at its end or as the first of a new one.
    mutating func isLong(with transfer: Transfer) -> Bool {
        guard transfer.pattern == nil, transfer.lines == 1 else {
            self = CopyRun()
            return false
        }
        let continues =
            transfer.source == sourceEnd && transfer.destination == destinationEnd
        bytes = (continues ? bytes : 0) &+ transfer.lineBytes
        sourceEnd = transfer.source &+ transfer.lineBytes
        destinationEnd = transfer.destination &+ transfer.lineBytes
        return bytes >= Self.streamedBytes
    }
}
