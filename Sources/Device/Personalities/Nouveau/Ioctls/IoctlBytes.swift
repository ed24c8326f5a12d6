/// The bytes of a struct or an array in the layout of the C ABI, little-endian.
///
/// Every access is checked: a field beyond the end reads 0 and is not written, which is what
/// drm_ioctl's zero-extension of short arguments comes to.
///
/// Threading: a value.
public struct IoctlBytes: Sendable, Equatable {
    /// The bytes.
    public private(set) var bytes: [UInt8]

    /// Takes bytes.
    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// Makes `count` zeros.
    public init(zeros count: Int) { bytes = [UInt8](repeating: 0, count: count) }

    /// Adds `count` zeros at the end.
    mutating func append(zeros count: Int) {
        bytes.append(contentsOf: repeatElement(0, count: count))
    }

    /// How many bytes there are.
    public var count: Int { bytes.count }

    /// The integer at `offset`.
    public func read<Value: FixedWidthInteger & BitwiseCopyable>(
        _ offset: Int, as type: Value.Type = Value.self
    ) -> Value {
        guard offset >= 0, offset <= bytes.count - MemoryLayout<Value>.size else { return 0 }
        return bytes.withUnsafeBytes {
            Value(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: Value.self))
        }
    }

    /// Writes the integer at `offset`.
    public mutating func write<Value: FixedWidthInteger & BitwiseCopyable>(
        _ value: Value, at offset: Int
    ) {
        guard offset >= 0, offset <= bytes.count - MemoryLayout<Value>.size else { return }
        bytes.withUnsafeMutableBytes {
            $0.storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
        }
    }

    /// Writes text into a field of `capacity` bytes, which ends with a zero byte.
    public mutating func write(_ text: String, at offset: Int, capacity: Int) {
        for (index, byte) in text.utf8.prefix(max(0, capacity - 1)).enumerated() {
            write(byte, at: offset + index)
        }
    }

    /// The text of a field of `capacity` bytes, up to its end or a zero byte; ill-formed UTF-8 is
    /// repaired.
    func text(at offset: Int, capacity: Int) -> String {
        let field = bytes[min(offset, count)..<min(offset + capacity - 1, count)]
        return String(decoding: field.prefix { $0 != 0 }, as: UTF8.self)
    }

    /// Writes zeros.
    mutating func clear(_ range: Range<Int>) {
        for index in range.clamped(to: 0..<count) { bytes[index] = 0 }
    }
}
