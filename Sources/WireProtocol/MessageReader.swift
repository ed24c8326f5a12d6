import SystemPackage

/// A bounds-checked cursor over the body of a message.
///
/// Nothing that it reads is trusted: every count is compared with a limit and with the bytes that
/// are there before it is used. It does not own the bytes; see ``WireArray``.
///
/// Threading: one thread at a time.
public struct MessageReader {
    @usableFromInline let bytes: UnsafeRawBufferPointer
    /// The offset of the next byte from the start of the body.
    public private(set) var offset = 0

    /// Starts at the first of `bytes`, which outlive the reader.
    public init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    /// How many bytes have not been read.
    public var remaining: Int { bytes.count - offset }

    /// Reads one fixed struct.
    ///
    /// - Throws: EINVAL when the message ends before it does.
    public mutating func read<T: BitwiseCopyable>(
        _ type: T.Type = T.self
    ) throws(WireError) -> T {
        let size = MemoryLayout<T>.size
        guard size <= remaining else {
            throw .invalid("the message ends \(size - remaining) bytes before its \(T.self) does")
        }
        let value = bytes.loadUnaligned(fromByteOffset: offset, as: T.self)
        offset += size
        return value
    }

    /// Reads an array of `count` structs, in place.
    ///
    /// - Parameters:
    ///   - count: As the message gives it.
    ///   - limit: The largest count that the receiver takes.
    ///   - what: Names the array in the error.
    /// - Throws: E2BIG above the limit, EINVAL when the message ends before the array does.
    public mutating func readArray<T: BitwiseCopyable>(
        _ type: T.Type = T.self, count: UInt32, limit: UInt32, _ what: StaticString
    ) throws(WireError) -> WireArray<T> {
        guard count <= limit else {
            throw WireError(
                .argListTooLong, "\(count) \(what) in one message: the limit is \(limit)")
        }
        // Compared by division, so that no count can overflow the product.
        guard Int(count) <= remaining / MemoryLayout<T>.stride else {
            throw .invalid(
                """
                the message counts \(count) \(what) of \(MemoryLayout<T>.stride) bytes but has \
                only \(remaining) bytes left
                """)
        }
        let start = bytes.baseAddress.map { $0 + offset }
        offset += Int(count) * MemoryLayout<T>.stride
        return WireArray(base: start, count: Int(count))
    }

    /// Reads `count` bytes, copied.
    ///
    /// - Throws: EINVAL when the message ends before.
    public mutating func readBytes(count: Int) throws(WireError) -> [UInt8] {
        guard count >= 0, count <= remaining else {
            throw .invalid("the message ends before \(count) bytes that it announces")
        }
        defer { offset += count }
        return Array(bytes[offset..<(offset + count)])
    }

    /// Reads `count` bytes of UTF-8.
    ///
    /// - Throws: EINVAL when they are not there, are more than `limit` or are not UTF-8.
    public mutating func readText(count: UInt32, limit: Int) throws(WireError) -> String {
        guard count <= limit, Int(count) <= remaining else {
            throw .invalid(
                """
                the message counts \(count) bytes of text: it has \(remaining), and \(limit) are \
                allowed
                """)
        }
        let slice = bytes[offset..<(offset + Int(count))]
        guard let text = String(validating: slice, as: UTF8.self) else {
            throw .invalid("the message's text is not UTF-8")
        }
        offset += Int(count)
        return text
    }

    /// Checks that the message ends here.
    ///
    /// - Throws: EINVAL when bytes are left.
    public func expectEnd() throws(WireError) {
        guard remaining == 0 else {
            throw .invalid("the message has \(remaining) bytes more than its contents")
        }
    }
}

/// Checks that a reserved field of a request is zero.
///
/// - Throws: EINVAL naming the field.
@inline(__always)
public func requireZero<T: FixedWidthInteger>(
    _ value: T, _ field: StaticString
) throws(WireError) {
    guard value == 0 else {
        throw .invalid("the reserved field \(field) is \(value) and must be 0")
    }
}

/// Checks that a field has only flags that this version knows.
///
/// - Throws: EINVAL naming the unknown ones.
@inline(__always)
public func requireFlags(
    _ value: UInt32, known: UInt32, _ field: StaticString
) throws(WireError) {
    guard value & ~known == 0 else {
        throw .invalid(
            "\(field) has the unknown flags 0x\(String(value & ~known, radix: 16))")
    }
}
