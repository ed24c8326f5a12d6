/// An array of fixed structs inside a message, read in place.
///
/// Valid as long as the message that it was read from; copy what has to live longer.
public struct WireArray<Element: BitwiseCopyable>: RandomAccessCollection {
    @usableFromInline let base: UnsafeRawPointer?
    /// The number of elements.
    public let count: Int

    @inlinable init(base: UnsafeRawPointer?, count: Int) {
        self.base = base
        self.count = count
    }

    /// The position of the first element.
    @inlinable public var startIndex: Int { 0 }
    /// The position after the last element.
    @inlinable public var endIndex: Int { count }

    /// The element at `index`, copied out.
    ///
    /// - Precondition: `index` is in range. O(1).
    @inlinable public subscript(index: Int) -> Element {
        precondition(index >= 0 && index < count, "index beyond the array")
        // `base` is nil only for count 0, which the line above has excluded.
        return base.unsafelyUnwrapped.loadUnaligned(
            fromByteOffset: index * MemoryLayout<Element>.stride, as: Element.self)
    }
}
