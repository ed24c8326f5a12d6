import PageTables

// @unchecked: the pointer never changes; the bytes are the tests' and the engines' to order.
/// Physical memory from 0 on: one host allocation; what follows the first `whole` bytes is reported
/// in runs of `run` bytes, as if it were scattered.
final class FakeMemory: PhysicalMemory, @unchecked Sendable {
    let base: UnsafeMutableRawPointer
    let size: UInt64
    private let run: UInt64
    private let whole: UInt64

    init(pages: UInt64, whole: UInt64, run: UInt64) {
        size = pages * 4096
        self.run = run
        self.whole = whole
        base = .allocate(byteCount: Int(size), alignment: 4096)
        base.initializeMemory(as: UInt8.self, repeating: 0, count: Int(size))
    }

    deinit { base.deallocate() }

    func resolve(_ address: PhysicalAddress, limit: UInt64) -> HostRange? {
        guard address < size else { return nil }
        let contiguous = address < whole ? whole - address : run - address % run
        let bytes = min(limit, size - address, contiguous)
        return HostRange(pointer: base + Int(address), bytes: bytes)
    }
}
