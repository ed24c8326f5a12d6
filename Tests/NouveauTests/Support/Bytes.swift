/// A struct of the C ABI, written field by field at the offsets of the header.
struct Bytes {
    var bytes: [UInt8]

    init(_ count: Int) { bytes = [UInt8](repeating: 0, count: count) }
    init(_ bytes: [UInt8]) { self.bytes = bytes }

    func put<Value: FixedWidthInteger>(_ offset: Int, _ value: Value) -> Bytes {
        var copy = self
        for index in 0..<MemoryLayout<Value>.size {
            copy.bytes[offset + index] = UInt8(
                truncatingIfNeeded: value >> Value(index * 8))
        }
        return copy
    }

    func u32(_ offset: Int) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << UInt32($1 * 8) }
    }

    func u64(_ offset: Int) -> UInt64 {
        UInt64(u32(offset)) | UInt64(u32(offset + 4)) << 32
    }

    func text(_ offset: Int, _ capacity: Int) -> String {
        String(decoding: bytes[offset..<offset + capacity].prefix { $0 != 0 }, as: UTF8.self)
    }

    /// The structs behind each other.
    static func joined(_ list: [Bytes]) -> Bytes { Bytes(list.flatMap(\.bytes)) }
}
