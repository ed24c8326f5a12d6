import PageTables

/// The commands that an engine has fetched ahead: up to 1 KiB from one address on.
///
/// Commands are copied in once, so that what was checked is what is executed, whatever the client
/// writes meanwhile.
///
/// Threading: owned by one ``CommandContext``.
struct CommandBuffer: ~Copyable {
    private static let capacity: UInt64 = 1024

    private let bytes = UnsafeMutableRawPointer.allocate(
        byteCount: Int(Self.capacity), alignment: 8)
    private var address: UInt64 = 0
    private var count: UInt64 = 0

    deinit { bytes.deallocate() }

    /// Forgets what was fetched ahead.
    mutating func drop() { count = 0 }

    /// Whether `dwords` dwords at `command` are here already.
    func holds(_ command: UInt64, dwords: Int) -> Bool {
        let offset = command &- address
        return offset < count && UInt64(dwords) * 4 <= count - offset
    }

    /// Fetches at least `dwords` dwords at `command`, and what follows them without a fault.
    mutating func fetch(
        _ command: UInt64, dwords: Int, _ mmu: MMU, _ space: AddressSpace
    ) throws(Fault) {
        address = command
        count = 0
        let needed = UInt64(dwords) * 4
        try mmu.withAccess { (access) throws(Fault) in
            while count < needed {
                // Only the first step looks ahead: a stream may end with its page.
                let limit = count == 0 ? Self.capacity : needed - count
                let place = bytes + Int(count)
                switch access.translate(
                    space: space, address: command &+ count, length: limit, intent: .fetch)
                {
                case .memory(let source, let length):
                    place.copyMemory(from: source, byteCount: Int(length))
                    count += length
                case .null(let length):
                    place.initializeMemory(as: UInt8.self, repeating: 0, count: Int(length))
                    count += length
                case .fault(let fault): throw fault
                }
            }
        }
    }

    /// A dword of a command that is held.
    func dword(_ command: UInt64, _ index: Int) -> UInt32 {
        UInt32(
            littleEndian: bytes.load(
                fromByteOffset: Int(command &- address) + 4 * index, as: UInt32.self))
    }

    /// Two dwords of a command that is held.
    func qword(_ command: UInt64, _ index: Int) -> UInt64 {
        UInt64(dword(command, index + 1)) << 32 | UInt64(dword(command, index))
    }
}
