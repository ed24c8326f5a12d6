import Glibc
import PageTables
import Synchronization

// @unchecked: the mapping never changes; the owners are atomics, the bytes are the tests' business.
/// One run of physical frames over untouched anonymous host memory.
///
/// Beside it there is nothing, frames can lose their owner, and host contiguity can be cut short.
/// The host memory is never unmapped: pools reach it by pointer, and may live longer than this.
final class FakeMemory: PhysicalMemory, @unchecked Sendable {
    let base: PhysicalAddress
    let bytes: UInt64
    let host: UnsafeMutableRawPointer
    /// Host memory counts as contiguous inside of blocks of this size only.
    let hostBlock: UInt64
    private let orphan = Atomic<UInt64>(.max)

    init(base: PhysicalAddress = 0x1_0000_0000, bytes: UInt64, hostBlock: UInt64 = 1 << 40) {
        self.base = base
        self.bytes = bytes
        self.hostBlock = hostBlock
        host = mmap(
            nil, Int(bytes), PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)!
        precondition(host != MAP_FAILED)
    }

    /// Takes the owner of one frame away, or of none.
    func orphanFrame(_ address: PhysicalAddress?) {
        orphan.store(address ?? .max, ordering: .relaxed)
    }

    func resolve(_ address: PhysicalAddress, limit: UInt64) -> HostRange? {
        guard address >= base, address - base < bytes,
            address / frameSize * frameSize != orphan.load(ordering: .relaxed)
        else { return nil }
        let offset = address - base
        let contiguous = min(bytes - offset, hostBlock - offset % hostBlock)
        return HostRange(pointer: host + Int(offset), bytes: min(limit, contiguous))
    }

    /// The 64-bit word at a physical address.
    func word(_ address: PhysicalAddress) -> UInt64 {
        (host + Int(address - base)).load(as: UInt64.self)
    }

    func setWord(_ address: PhysicalAddress, _ value: UInt64) {
        (host + Int(address - base)).storeBytes(of: value, as: UInt64.self)
    }
}

/// A pool of `pages` tables at 0x1_0000_0000 in memory of its own.
func makePool(pages: Int) throws -> TablePool {
    let memory = FakeMemory(bytes: UInt64(pages) * frameSize)
    return try TablePool(memory: memory, base: memory.base, pageCount: pages)
}
