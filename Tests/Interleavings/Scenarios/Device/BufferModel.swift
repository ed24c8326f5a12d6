import Memory

// @unchecked: threads of a run take turns.
/// A buffer as one context sees it: its memory, and the bytes that only this context writes.
final class BufferModel: @unchecked Sendable {
    static let pageBytes = 4096
    static let blockBytes = 512
    static let blocksPerPage = pageBytes / blockBytes

    let memory: SharedMemory
    let pages: Int
    /// Whether its frames are to be VRAM.
    let isVRAM: Bool
    let needsCPUAccess: Bool
    /// The pages that the context may write.
    let ownedPages: [Bool]
    /// Whether it shares the reservation of the VM that it was made for.
    var isLocal = false
    /// The client's handle; nil once it was closed.
    var handle: UInt32?
    /// The pattern of each block; nil for one that a job which did not end well may have written.
    private(set) var blocks: [UInt32?]

    init(
        _ memory: SharedMemory, handle: UInt32, isVRAM: Bool, needsCPUAccess: Bool,
        owns: (Int) -> Bool
    ) {
        self.memory = memory
        self.handle = handle
        self.isVRAM = isVRAM
        self.needsCPUAccess = needsCPUAccess
        pages = Int(memory.bytes) / Self.pageBytes
        ownedPages = (0..<pages).map(owns)
        blocks = Array(repeating: 0, count: pages * Self.blocksPerPage)
    }

    /// Whether other contexts have it too.
    func isShared(in world: DeviceWorld) -> Bool { world.shared.contains { $0 === memory } }

    subscript(block: Int) -> UInt32? {
        get { blocks[block] }
        set { blocks[block] = newValue }
    }

    /// Compares the memory with what was written; no job of the context runs.
    func check(_ run: Run, _ what: String) {
        for page in 0..<pages where ownedPages[page] {
            for block in (page * Self.blocksPerPage)..<((page + 1) * Self.blocksPerPage) {
                guard let expected = blocks[block] else { continue }
                let words = UnsafeRawBufferPointer(
                    start: memory.host + block * Self.blockBytes, count: Self.blockBytes
                ).bindMemory(to: UInt32.self)
                if let word = words.firstIndex(where: { $0 != expected }) {
                    run.fail(
                        """
                        \(what): block \(block) word \(word) is \(String(words[word], radix: 16)) \
                        and should be \(String(expected, radix: 16))
                        """)
                }
            }
        }
    }
}
