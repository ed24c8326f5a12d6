import PageTables
import Synchronization

/// An aligned word of GPU memory, reached as other engines and processes reach it: atomically,
/// loads acquire and stores release. Little-endian.
struct AtomicWord {
    private let pointer: UnsafeMutableRawPointer

    init(_ pointer: UnsafeMutableRawPointer) { self.pointer = pointer }

    /// The word 8 bytes further on.
    var following64: AtomicWord { AtomicWord(pointer + 8) }

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

    /// Replaces the value by what `change` makes of it, and returns the new one.
    func update32(_ change: (UInt32) -> UInt32) -> UInt64 {
        let atomic = pointer.assumingMemoryBound(to: Atomic<UInt32>.self)
        var old = atomic.pointee.load(ordering: .acquiring)
        while true {
            let new = change(UInt32(littleEndian: old)).littleEndian
            let (done, found) = atomic.pointee.compareExchange(
                expected: old, desired: new, ordering: .acquiringAndReleasing)
            if done { return UInt64(UInt32(littleEndian: new)) }
            old = found
        }
    }

    /// Replaces the value by what `change` makes of it, and returns the new one.
    func update64(_ change: (UInt64) -> UInt64) -> UInt64 {
        let atomic = pointer.assumingMemoryBound(to: Atomic<UInt64>.self)
        var old = atomic.pointee.load(ordering: .acquiring)
        while true {
            let new = change(UInt64(littleEndian: old)).littleEndian
            let (done, found) = atomic.pointee.compareExchange(
                expected: old, desired: new, ordering: .acquiringAndReleasing)
            if done { return UInt64(littleEndian: new) }
            old = found
        }
    }

    /// Reaches the word, or the pair of words, of `bytes` bytes at `address`, which is aligned to
    /// them; null reads 0 and drops writes.
    static func reach(
        _ address: UInt64, bytes: UInt64, _ intent: AccessKind, _ mmu: MMU, _ space: AddressSpace,
        _ body: (AtomicWord) -> UInt64
    ) throws(Fault) -> UInt64 {
        try mmu.withAccess { (access) throws(Fault) in
            switch access.translate(space: space, address: address, length: bytes, intent: intent) {
            case .memory(let pointer, let length):
                precondition(length == bytes, "frames are aligned and hold whole words")
                return body(AtomicWord(pointer))
            case .null: return 0
            case .fault(let fault): throw fault
            }
        }
    }
}
