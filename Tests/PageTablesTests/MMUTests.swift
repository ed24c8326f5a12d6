import PageTables
import Testing

/// The outcome of one translation, comparable and free of pointers.
private enum Outcome: Equatable {
    case memory(physical: PhysicalAddress, UInt64)
    case null(UInt64)
    case fault(FaultReason)
}

@Suite("MMU")
struct MMUTests {
    private let memory = FakeMemory(base: 0x10_0000_0000, bytes: 64 * miB, hostBlock: 16 * miB)
    private let fixture: TableFixture
    private let space: AddressSpace

    init() throws {
        fixture = try TableFixture(pages: 256)
        space = AddressSpace(fixture.table)
    }

    private func translate(
        _ mmu: MMU, _ address: UInt64, _ length: UInt64 = 8, _ intent: AccessKind = .read
    ) -> Outcome {
        mmu.withAccess { access in
            switch access.translate(space: space, address: address, length: length, intent: intent)
            {
            case .memory(let pointer, let bytes):
                return .memory(
                    physical: memory.base + UInt64(pointer - memory.host), bytes)
            case .null(let bytes): return .null(bytes)
            case .fault(let fault):
                #expect(fault.address == address && fault.access == intent)
                #expect(fault.space == space.id)
                return .fault(fault.reason)
            }
        }
    }

    @Test(
        "the TLB really caches: a change shows only after the invalidation",
        arguments: [4 * kiB, 64 * kiB, 2 * miB])
    func staleUntilInvalidated(size: UInt64) throws {
        let mmu = MMU(memory: memory, tlbEntries: 4096)
        let other = 32 * miB + memory.base
        try fixture.map(2 * miB, to: memory.base, bytes: size)
        // Another leaf in between, so that not only the cache of the last one is seen.
        try fixture.map(512 * miB, to: memory.base + 0x9000, bytes: 4096)
        for address in [2 * miB, 2 * miB + size - 8] {
            try fixture.map(2 * miB, to: memory.base, bytes: size)
            mmu.invalidateAll(space: space.id)
            let offset = address - 2 * miB
            #expect(translate(mmu, address) == .memory(physical: memory.base + offset, 8))
            #expect(translate(mmu, 512 * miB) == .memory(physical: memory.base + 0x9000, 8))
            try fixture.map(2 * miB, to: other, bytes: size)
            #expect(
                translate(mmu, address) == .memory(physical: memory.base + offset, 8), "stale")
            mmu.invalidate(space: space.id, address: address / 4096 * 4096, range: 4096)
            #expect(translate(mmu, address) == .memory(physical: other + offset, 8), "fresh")
        }
    }

    @Test("the cache of the last translation is invalidated too")
    func lastTranslation() throws {
        let mmu = MMU(memory: memory, tlbEntries: 4)
        try fixture.map(0, to: memory.base, bytes: 4096)
        #expect(translate(mmu, 0) == .memory(physical: memory.base, 8))
        fixture.unmap(0, bytes: 4096)
        #expect(translate(mmu, 0) == .memory(physical: memory.base, 8), "stale")
        mmu.invalidate(space: space.id, address: 0, range: 4096)
        #expect(translate(mmu, 0) == .fault(.notMapped(level: 3)))
    }

    @Test("an invalidation keeps other ranges and other spaces, and long ranges sweep")
    func selective() throws {
        let mmu = MMU(memory: memory, tlbEntries: 64)
        let stranger = try TableFixture(pages: 16)
        let strangerSpace = AddressSpace(stranger.table)
        try stranger.map(0, to: memory.base, bytes: 4096)
        for page in 0..<8 as Range<UInt64> {
            try fixture.map(page * 4096, to: memory.base + page * 8192, bytes: 4096)
        }
        let touch = {
            for page in 0..<8 as Range<UInt64> { _ = translate(mmu, page * 4096) }
            mmu.withAccess { access in
                _ = access.translate(space: strangerSpace, address: 0, length: 8, intent: .read)
            }
        }
        touch()
        #expect(mmu.statistics.misses == 9 && mmu.statistics.hits == 0)
        touch()
        #expect(mmu.statistics.misses == 9 && mmu.statistics.hits == 9)
        mmu.invalidate(space: space.id, address: 2 * 4096, range: 2 * 4096)
        #expect(mmu.statistics.invalidatedEntries == 2)
        touch()
        #expect(mmu.statistics.misses == 11)
        mmu.invalidate(space: space.id, address: 4096, range: 1 << 40)
        #expect(mmu.statistics.invalidatedEntries == 2 + 7)
        touch()
        #expect(mmu.statistics.misses == 11 + 7)
        let ranges = [
            VirtualRange(address: 0, bytes: 4096), VirtualRange(address: 4096, bytes: 0),
            VirtualRange(address: 7 * 4096, bytes: 4096),
        ]
        ranges.withUnsafeBufferPointer {
            InvalidationDomain([mmu]).invalidate(space: space.id, ranges: $0)
        }
        #expect(mmu.statistics.invalidatedEntries == 2 + 7 + 2)
        mmu.invalidateAll(space: space.id)
        #expect(mmu.statistics.invalidatedEntries == 2 + 7 + 8)
        mmu.withAccess { access in
            _ = access.translate(space: strangerSpace, address: 0, length: 8, intent: .read)
        }
        #expect(mmu.statistics.misses == 18)
    }

    @Test("a small TLB evicts and still answers rightly")
    func evicts() throws {
        let mmu = MMU(memory: memory, tlbEntries: 1)
        #expect(mmu.tlbCapacity == 4)
        for page in 0..<64 as Range<UInt64> {
            try fixture.map(page * 4096, to: memory.base + page * 8192, bytes: 4096)
        }
        for _ in 0..<2 {
            for page in 0..<64 as Range<UInt64> {
                #expect(
                    translate(mmu, page * 4096) == .memory(physical: memory.base + page * 8192, 8))
            }
        }
        #expect(mmu.statistics.misses == 128 && mmu.statistics.evictions == 124)
    }

    @Test("contiguous leaves are joined up to the limit, the flags' and the host's end")
    func joining() throws {
        let mmu = MMU(memory: memory)
        // 4 KiB leaves that continue each other, but are not aligned for a group.
        try fixture.map(0, to: memory.base + 4096, bytes: 32 * kiB)
        #expect(translate(mmu, 0x10, 64 * kiB) == .memory(physical: memory.base + 0x1010, 0x7ff0))
        #expect(translate(mmu, 0x10, 9000) == .memory(physical: memory.base + 0x1010, 9000))
        try fixture.map(32 * kiB, to: memory.base + 36 * kiB, bytes: 4096, .readOnly)
        #expect(translate(mmu, 0, 64 * kiB) == .memory(physical: memory.base + 4096, 36 * kiB))
        #expect(
            translate(mmu, 0, 64 * kiB, .write) == .memory(physical: memory.base + 4096, 32 * kiB))
        try fixture.map(36 * kiB, to: memory.base, bytes: 4096)
        #expect(translate(mmu, 0, 64 * kiB) == .memory(physical: memory.base + 4096, 36 * kiB))
        // The host's memory is contiguous in blocks of 16 MiB.
        try fixture.map(giB, to: memory.base + 16 * miB - 4096, bytes: 8192)
        #expect(
            translate(mmu, giB, 8192) == .memory(physical: memory.base + 16 * miB - 4096, 4096))
        // The end of the address space.
        try fixture.map((1 << 48) - 8192, to: memory.base, bytes: 8192)
        #expect(
            translate(mmu, (1 << 48) - 8192, .max) == .memory(physical: memory.base, 8192))
    }

    @Test("null reads and drops, joined; memory behind it is its own translation")
    func null() throws {
        let mmu = MMU(memory: memory)
        try fixture.mapNull(0x1000, bytes: 64 * kiB)
        try fixture.map(0x1000 + 64 * kiB, to: memory.base, bytes: 4096)
        #expect(translate(mmu, 0x1800, miB) == .null(64 * kiB - 0x800))
        #expect(translate(mmu, 0x1800, 100, .write) == .null(100))
        try fixture.mapNull(0x1000, bytes: 4096, .readOnly)
        mmu.invalidateAll(space: space.id)
        #expect(translate(mmu, 0x1800, 8, .write) == .fault(.readOnly))
        #expect(translate(mmu, 0x1800, 8) == .null(8))
    }

    @Test("every way to fault")
    func faults() throws {
        let mmu = MMU(memory: memory)
        #expect(translate(mmu, 0) == .fault(.notMapped(level: 3)))
        try fixture.map(0, to: memory.base, bytes: 4096, .readOnly)
        #expect(translate(mmu, 4096, 8, .fetch) == .fault(.notMapped(level: 0)))
        #expect(translate(mmu, 2 * miB) == .fault(.notMapped(level: 1)))
        #expect(translate(mmu, giB) == .fault(.notMapped(level: 2)))
        #expect(translate(mmu, 8, 8, .write) == .fault(.readOnly))
        #expect(translate(mmu, 8, 8, .fetch) == .memory(physical: memory.base + 8, 8))
        #expect(translate(mmu, 1 << 48) == .fault(.outOfRange))
        #expect(translate(mmu, .max) == .fault(.outOfRange))
        // Not owned at all, and an owner lost behind a cached translation.
        try fixture.map(4096, to: 0x1000, bytes: 4096)
        #expect(translate(mmu, 4100) == .fault(.machineCheck(0x1004)))
        memory.orphanFrame(memory.base)
        #expect(translate(mmu, 8) == .fault(.machineCheck(memory.base + 8)))
        memory.orphanFrame(nil)
        #expect(mmu.statistics.faults == 9)
        space.close()
        #expect(translate(mmu, 8) == .fault(.spaceClosed))
    }

    @Test("bytes are counted by what was granted")
    func bytes() throws {
        let mmu = MMU(memory: memory)
        try fixture.map(0, to: memory.base, bytes: 4096)
        try fixture.mapNull(4096, bytes: 4096)
        _ = translate(mmu, 0, 100)
        _ = translate(mmu, 4000, 100, .fetch)
        _ = translate(mmu, 8, 16, .write)
        _ = translate(mmu, 5000, 32, .write)
        #expect(mmu.statistics.bytesRead == 100 + 96)
        #expect(mmu.statistics.bytesWritten == 16 + 32)
    }

    @Test("identities are never used twice")
    func identities() {
        let other = AddressSpace(fixture.table)
        #expect(other.id != space.id && other.id != 0 && space.id != 0)
        #expect(other.rootAddress == fixture.table.rootAddress)
    }
}
