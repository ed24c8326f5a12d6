import PageTables

// @unchecked: the pointer never changes; the bytes are the bench's and the engine's to order.
/// One host allocation as physical memory from 0 on.
final class BenchMemory: PhysicalMemory, @unchecked Sendable {
    let base: UnsafeMutableRawPointer
    let size: UInt64

    init(base: UnsafeMutableRawPointer, size: UInt64) {
        self.base = base
        self.size = size
    }

    func resolve(_ address: PhysicalAddress, limit: UInt64) -> HostRange? {
        guard address < size else { return nil }
        return HostRange(pointer: base + Int(address), bytes: min(limit, size - address))
    }
}
