import Engines
import Fencing
import Glibc
import PageTables

/// An engine over memory of its own, with everything that an address can lead to: data, pages that
/// are read-only, null or missing, and code.
///
/// Physical memory: page tables, code, data, and as much again that nothing is mapped to.
final class EngineBench: @unchecked Sendable {
    // @unchecked: one thread runs the engine and looks at the memory.
    static let code: UInt64 = 0x7fff_ffff_0000
    static let codePages: UInt64 = 4
    static let data: UInt64 = 0x10_0000
    static let dataPages: UInt64 = 12
    private static let tablePages: UInt64 = 64
    private static let strangePages: UInt64 = 8
    private static let missingPage: UInt64 = 5
    private static let readOnlyPage: UInt64 = 7
    private static let nullPage: UInt64 = 9
    private static let firstData = tablePages + codePages
    private static let pages = firstData + dataPages + strangePages

    private let base: UnsafeMutableRawPointer
    let mmu: MMU
    let space: AddressSpace
    private let pool: TablePool
    private let fresh: [UInt8]

    init() throws {
        let bytes = Int(Self.pages * 4096)
        base = .allocate(byteCount: bytes, alignment: 4096)
        base.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
        let memory = BenchMemory(base: base, size: UInt64(bytes))
        pool = try TablePool(memory: memory, base: 0, pageCount: Int(Self.tablePages))
        let table = try PageTable(pool: pool)
        space = AddressSpace(table)
        mmu = MMU(memory: memory, tlbEntries: 16)
        var pattern: UInt64 = 0x9e37_79b9_7f4a_7c15
        for index in Int(Self.firstData * 512)..<Int(Self.pages * 512) {
            pattern = pattern &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            // Small words, too, that semaphores can wait for.
            base.storeBytes(
                of: index % 8 == 0 ? UInt64(index % 3) : pattern, toByteOffset: index * 8,
                as: UInt64.self)
        }
        fresh = [UInt8](
            UnsafeRawBufferPointer(start: base, count: bytes).dropFirst(
                Int(Self.firstData * 4096)))
        // Nobody writes code while it runs: how far it is fetched ahead is not defined.
        try map(table, Self.code, frame: 0, pages: Self.codePages, isReadOnly: true)
        for page in 0..<Self.dataPages where page != Self.missingPage {
            let address = Self.data + page * 4096
            if page == Self.nullPage {
                try mapNull(table, address)
            } else {
                // Neighbours in the address space are none in memory.
                try map(
                    table, address, frame: Self.codePages + (page * 5) % Self.dataPages, pages: 1,
                    isReadOnly: page == Self.readOnlyPage)
            }
        }
    }

    private func map(
        _ table: PageTable, _ address: UInt64, frame: UInt64, pages: UInt64, isReadOnly: Bool
    ) throws {
        let extent = PhysicalExtent(
            address: (Self.tablePages + frame) * 4096, bytes: pages * 4096)
        var reservation = try pool.reserve(
            PageTable.tablesNeeded(address: address, range: extent.bytes))
        var retired = RetiredTables()
        table.map(
            address, extents: [extent], flags: isReadOnly ? .readOnly : [], using: &reservation,
            retiring: &retired)
        pool.release(&retired)
    }

    private func mapNull(_ table: PageTable, _ address: UInt64) throws {
        var reservation = try pool.reserve(
            PageTable.tablesNeeded(address: address, range: 4096))
        var retired = RetiredTables()
        table.mapNull(address, range: 4096, using: &reservation, retiring: &retired)
        pool.release(&retired)
    }

    /// Puts data where it was, and commands into the code pages.
    func reset(_ dwords: [UInt32]) {
        fresh.withUnsafeBytes {
            (base + Int(Self.firstData * 4096)).copyMemory(
                from: $0.baseAddress!, byteCount: $0.count)
        }
        let code = base + Int(Self.tablePages * 4096)
        let room = Int(Self.codePages * 1024)
        for (index, dword) in dwords.prefix(room).enumerated() {
            code.storeBytes(of: dword, toByteOffset: index * 4, as: UInt32.self)
        }
        if dwords.count < room {
            memset(code + dwords.count * 4, 0, (room - dwords.count) * 4)
        }
    }

    /// All data, mapped or not.
    func data() -> [UInt8] {
        Array(
            UnsafeRawBufferPointer(
                start: base + Int(Self.firstData * 4096), count: fresh.count))
    }

    /// Checks that nothing was written but what may be.
    func checkBounds(_ data: [UInt8]) {
        for frame in Int(Self.dataPages)..<Int(Self.dataPages + Self.strangePages) {
            check(data, frame, "that nothing is mapped to")
        }
        for page in [Self.missingPage, Self.readOnlyPage, Self.nullPage] {
            check(data, Int((page * 5) % Self.dataPages), "behind page \(page), which is read-only")
        }
    }

    private func check(_ data: [UInt8], _ frame: Int, _ what: String) {
        let isSame = data.withUnsafeBytes { now in
            fresh.withUnsafeBytes { before in
                memcmp(now.baseAddress! + frame * 4096, before.baseAddress! + frame * 4096, 4096)
                    == 0
            }
        }
        guard isSame else { fuzzFailure("the engine wrote memory \(what)") }
    }
}
