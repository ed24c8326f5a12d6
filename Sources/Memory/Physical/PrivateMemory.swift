import CPlatform
import Glibc
import PageTables

// @unchecked: the pointer never changes; the bytes behind it are page tables, accessed atomically.
/// VRAM that the driver keeps for itself, contiguous in physical and in host memory.
///
/// Threading: immutable after creation; who uses the bytes orders his accesses himself.
public final class PrivateMemory: @unchecked Sendable {
    /// The first byte's physical address.
    public let base: PhysicalAddress
    /// Size in bytes.
    public let bytes: UInt64
    private let host: UnsafeMutableRawPointer

    init(base: PhysicalAddress, bytes: UInt64) throws(MemoryError) {
        guard let host = gpuvm_reserve(Int(bytes)) else {
            throw .system(errno: ENOMEM, call: "mmap")
        }
        self.base = base
        self.bytes = bytes
        self.host = host
    }

    deinit { gpuvm_unmap(host, Int(bytes)) }

    /// Whether `address` lies in this memory.
    @inline(__always)
    public func contains(_ address: PhysicalAddress) -> Bool {
        address >= base && address - base < bytes
    }

    @inline(__always)
    func resolve(_ address: PhysicalAddress, limit: UInt64) -> HostRange? {
        guard contains(address) else { return nil }
        let offset = address - base
        return HostRange(pointer: host + Int(offset), bytes: min(limit, bytes - offset))
    }
}
