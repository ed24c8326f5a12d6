/// Writes push buffers by hand: headers of incrementing methods and their data.
struct PushWriter {
    private(set) var dwords: [UInt32] = []

    mutating func methods(_ subchannel: UInt32, _ method: UInt32, _ data: [UInt32]) {
        dwords.append(1 << 29 | UInt32(data.count) << 16 | subchannel << 13 | method >> 2)
        dwords += data
    }

    /// The copy class: one line, pitch to pitch, non-pipelined, with a flush.
    mutating func copy(from source: UInt64, to target: UInt64, bytes: UInt32) {
        methods(
            4, 0x400,
            [
                UInt32(source >> 32), UInt32(truncatingIfNeeded: source), UInt32(target >> 32),
                UInt32(truncatingIfNeeded: target),
            ])
        methods(4, 0x418, [bytes, 1])
        methods(4, 0x300, [0x386])
    }

    /// The host: waits until the word at `address` is `value`.
    mutating func acquire(_ address: UInt64, _ value: UInt32) {
        methods(
            4, 0x10,
            [UInt32(address >> 32), UInt32(truncatingIfNeeded: address), value, 1])
    }
}
