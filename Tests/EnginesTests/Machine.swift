import Engines
import Fencing
import PageTables
import Testing
import WireProtocol

/// An engine, a VM over fake memory, and hands to lay it out.
///
/// The first 64 pages of memory are page tables; page `n` of data is frame `64 + n`.
final class Machine: Sendable {
    static let firstFrame: UInt64 = 64
    let pool: TablePool
    let table: PageTable
    let space: AddressSpace
    let mmu: MMU
    let engine: CommandEngine
    /// The last to go: the tables are in it.
    let memory: FakeMemory

    init(frames: UInt64 = 64, run: UInt64 = 1 << 40, tlbEntries: Int = 64) throws {
        memory = FakeMemory(
            pages: Self.firstFrame + frames, whole: Self.firstFrame * 4096, run: run)
        pool = try TablePool(memory: memory, base: 0, pageCount: Int(Self.firstFrame))
        table = try PageTable(pool: pool)
        space = AddressSpace(table)
        mmu = MMU(memory: memory, tlbEntries: tlbEntries)
        engine = CommandEngine(name: "copy0", mmu: mmu)
    }

    /// Maps `pages` pages at `address` to the frames from `frame` on.
    func map(_ address: UInt64, frame: UInt64, pages: UInt64 = 1, readOnly: Bool = false) throws {
        let extent = PhysicalExtent(
            address: (Self.firstFrame + frame) * 4096, bytes: pages * 4096)
        var reservation = try pool.reserve(
            PageTable.tablesNeeded(address: address, range: extent.bytes))
        var retired = RetiredTables()
        table.map(
            address, extents: [extent], flags: readOnly ? .readOnly : [], using: &reservation,
            retiring: &retired)
        mmu.invalidate(space: space.id, address: address, range: extent.bytes)
        pool.release(&retired)
    }

    func mapNull(_ address: UInt64, pages: UInt64 = 1) throws {
        var reservation = try pool.reserve(
            PageTable.tablesNeeded(address: address, range: pages * 4096))
        var retired = RetiredTables()
        table.mapNull(address, range: pages * 4096, using: &reservation, retiring: &retired)
        mmu.invalidate(space: space.id, address: address, range: pages * 4096)
        pool.release(&retired)
    }

    func unmap(_ address: UInt64, pages: UInt64 = 1) {
        var retired = RetiredTables()
        table.unmap(address, range: pages * 4096, retiring: &retired)
        mmu.invalidate(space: space.id, address: address, range: pages * 4096)
        pool.release(&retired)
    }

    /// The host's way to a byte of data.
    func host(frame: UInt64, offset: UInt64 = 0) -> UnsafeMutableRawPointer {
        memory.base + Int((Self.firstFrame + frame) * 4096 + offset)
    }

    func bytes(frame: UInt64, offset: UInt64 = 0, count: Int) -> [UInt8] {
        [UInt8](UnsafeRawBufferPointer(start: host(frame: frame, offset: offset), count: count))
    }

    func write(_ dwords: [UInt32], frame: UInt64, offset: UInt64 = 0) {
        for (index, dword) in dwords.enumerated() {
            host(frame: frame, offset: offset).storeBytes(
                of: dword.littleEndian, toByteOffset: index * 4, as: UInt32.self)
        }
    }

    func context(_ address: UInt64, bytes: UInt64 = 0) -> CommandContext {
        CommandContext(
            engine: engine, space: space, batches: [CommandBatch(address: address, bytes: bytes)])
    }
}

/// Runs a context until it does not yield any more; nil if that takes too many quanta.
func finish(_ context: CommandContext, _ quantum: EngineQuantum = .init()) -> EngineOutcome? {
    for _ in 0..<2_000_000 {
        let outcome = context.run(quantum)
        if outcome != .yield { return outcome }
    }
    return nil
}

/// A minute from now: no test waits longer, and none needs a hundredth of it.
func soon() -> UInt64 { Runtime.deadline(after: 60_000_000_000) }
