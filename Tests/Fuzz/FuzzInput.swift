/// The bytes of an input, taken from the front; what is not there is 0.
///
/// Small numbers are frequent, since handles, counts and flags are small, and everything else can
/// come up.
struct FuzzInput {
    private let bytes: UnsafeRawBufferPointer
    private var offset = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var isEmpty: Bool { offset >= bytes.count }

    mutating func byte() -> UInt8 {
        guard offset < bytes.count else { return 0 }
        defer { offset += 1 }
        return bytes[offset]
    }

    mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type = Value.self) -> Value {
        var value: Value = 0
        for index in 0..<MemoryLayout<Value>.size {
            value |= Value(truncatingIfNeeded: byte()) << Value(8 * index)
        }
        return value
    }

    /// 0…count-1.
    mutating func below(_ count: Int) -> Int { count < 2 ? 0 : Int(byte()) % count }

    /// True once in `times`, and whenever the input is at its end never.
    mutating func isRare(_ times: Int) -> Bool { Int(byte()) % times == times - 1 }

    /// One of the elements, of which there are some.
    mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[below(elements.count)]
    }

    /// Small numbers, pages, powers of two, numbers near the end, and anything.
    mutating func value() -> UInt64 {
        let kind = byte()
        switch kind {
        case 0..<128: return UInt64(kind & 15)
        case 128..<176: return UInt64(kind - 128) << 12
        case 176..<216: return 1 << UInt64(kind - 176 + 8)
        case 216..<224: return UInt64.max - UInt64(byte())
        case 224..<232: return UInt64(1) << 47 &- UInt64(byte()) << 12
        case 232..<240: return UInt64(integer(UInt16.self))
        case 240..<248: return UInt64(integer(UInt32.self))
        default: return integer()
        }
    }

    mutating func dword() -> UInt32 { UInt32(truncatingIfNeeded: value()) }

    /// At most `count` bytes.
    mutating func take(_ count: Int) -> [UInt8] {
        let end = min(bytes.count, offset + max(0, count))
        defer { offset = end }
        return Array(bytes[offset..<end])
    }

    mutating func rest() -> [UInt8] { take(bytes.count) }
}
