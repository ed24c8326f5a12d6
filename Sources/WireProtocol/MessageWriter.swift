/// A growing buffer that messages are written into.
///
/// Threading: one thread at a time.
public struct MessageWriter: Sendable {
    /// What has been written.
    public private(set) var bytes: [UInt8] = []

    /// Creates an empty buffer with room for `capacity` bytes.
    public init(capacity: Int = 256) {
        bytes.reserveCapacity(capacity)
    }

    /// Appends the bytes of one fixed struct.
    public mutating func append<T: BitwiseCopyable>(_ value: T) {
        withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
    }

    /// Appends the bytes of an array of fixed structs.
    public mutating func append<T: BitwiseCopyable>(contentsOf values: [T]) {
        values.withUnsafeBytes { bytes.append(contentsOf: $0) }
    }

    /// Appends UTF-8 without a terminator, cut at a character's end to at most `limit` bytes.
    ///
    /// - Returns: How many bytes were appended.
    @discardableResult
    public mutating func append(text: String, limit: Int) -> Int {
        let end = text.utf8Prefix(limit)
        bytes.append(contentsOf: text.utf8.prefix(end))
        return end
    }

    /// Overwrites what lies at `offset`.
    ///
    /// - Precondition: The value lies within what has been written.
    public mutating func replace<T: BitwiseCopyable>(at offset: Int, with value: T) {
        precondition(offset >= 0 && offset + MemoryLayout<T>.size <= bytes.count)
        bytes.withUnsafeMutableBytes {
            $0.storeBytes(of: value, toByteOffset: offset, as: T.self)
        }
    }
}

extension String {
    /// The length of the longest prefix of whole Unicode scalars within `limit` bytes of UTF-8.
    func utf8Prefix(_ limit: Int) -> Int {
        guard utf8.count > limit else { return utf8.count }
        var length = 0
        for scalar in unicodeScalars {
            let next = length + UTF8.width(scalar)
            if next > limit { break }
            length = next
        }
        return length
    }
}
