import Synchronization

/// An aligned word of GPU memory, reached as other engines and processes reach it: atomically,
/// loads acquire and stores release. Little-endian.
struct AtomicWord {
    private let pointer: UnsafeMutableRawPointer

    init(_ pointer: UnsafeMutableRawPointer) { self.pointer = pointer }

    func load32() -> UInt32 {
        // Whoever else touches the word does it as an atomic of this size, if at the same time.
        UInt32(
            littleEndian: pointer.assumingMemoryBound(to: Atomic<UInt32>.self).pointee.load(
                ordering: .acquiring))
    }

    func load64() -> UInt64 {
        UInt64(
            littleEndian: pointer.assumingMemoryBound(to: Atomic<UInt64>.self).pointee.load(
                ordering: .acquiring))
    }

    /// Returns the value stored.
    func store32(_ value: UInt32) -> UInt64 {
        pointer.assumingMemoryBound(to: Atomic<UInt32>.self).pointee.store(
            value.littleEndian, ordering: .releasing)
        return UInt64(value)
    }

    /// Returns the value stored.
    func store64(_ value: UInt64) -> UInt64 {
        pointer.assumingMemoryBound(to: Atomic<UInt64>.self).pointee.store(
            value.littleEndian, ordering: .releasing)
        return value
    }
}
