import Device
import Glibc
import PageTables
import Testing

@Suite("nouveau: unmaps in sparse regions when no page table is left")
struct SparseEvictedTests {
    private static let mib: UInt64 = 1 << 20
    private static let base: UInt64 = 64 << 30

    /// A file whose VM has a sparse region, on a device with little memory.
    private final class Setup {
        let fixture: NouveauFixture
        let file: TestFile
        let vm: DeviceVM
        private var wanted: UInt64 = 1 << 30

        init(region bytes: UInt64) throws {
            fixture = try NouveauFixture {
                $0.vramBytes = 16 * mib
                $0.pageTableBytes = 64 * 4096
            }
            file = fixture.open()
            try file.vmInit()
            vm = try #require(file.file.client.allVMs.first?.vm)
            if bytes != 0 { #expect(try file.bind([.mapSparse(base, bytes)]) == 0) }
        }

        /// Takes all VRAM, and gives it back. What was in it is the VM's own.
        func evict() throws {
            let other = try file.gemNew(15 * mib, domain: 0x02).handle
            try file.expect(Request.gemClose, Bytes(8).put(0, other))
            // Waits for moves of what shares the VM's reservation.
            #expect(try file.bind([]) == 0)
        }

        /// Maps single pages until there is no page table for one more.
        func fillTables() throws {
            let page = try file.gemNew(4096).handle
            // A directory of 512 MiB each, then the 2 MiB in what they have.
            for step in [512 * mib, 2 * mib] {
                var errno: Int32 = 0
                while errno == 0 {
                    errno = try file.bind([.map(page, at: wanted, 4096)])
                    if errno == 0 { wanted += step }
                }
                #expect(errno == ENOSPC)
                if step != 2 * mib { wanted -= step - 2 * mib }
            }
        }

        /// What lies at an address: memory, zeros or nothing.
        func look(_ address: UInt64) throws -> String {
            switch try #require(vm.walk(address)).result {
            case .leaf(let leaf): leaf.isNull ? "zeros" : "memory"
            case .fault: "fault"
            }
        }
    }

    @Test(
        "What is mapped there is a buffer that was evicted",
        arguments: [
            // offset in the region, bytes: 2 MiB leaves, 64 KiB leaves, pages, and all of them.
            (0x20_0000, 0x40_0000), (0x1_0000, 0x3_0000), (0x1000, 0x5000), (0x1000, 0x60_0000),
        ] as [(UInt64, UInt64)], [false, true])
    func unmap(place: (UInt64, UInt64), isBoundEvicted: Bool) throws {
        let (offset, bytes) = place
        let setup = try Setup(region: 512 * Self.mib)
        let file = setup.file
        let channel = try file.channelAlloc()
        let buffer = try file.gemNew(8 * Self.mib, domain: 0x22).handle
        let start = Self.base + offset
        if isBoundEvicted { try setup.evict() }
        #expect(try file.bind([.map(buffer, at: start, bytes)]) == 0)
        if !isBoundEvicted {
            #expect(try setup.look(start) == "memory")
            try setup.evict()
        }
        try setup.fillTables()
        // Whoever used it now would be told.
        let last = start + bytes - 4096
        let middle = start + bytes / 8192 * 4096
        for page in [start, middle, last] {
            #expect(try setup.look(page) == "fault", "\(page)")
        }
        // A page in the middle; the exec binds the rest; then the rest in both states.
        #expect(try file.bind([.unmap(middle, 4096)]) == 0)
        #expect(try setup.look(middle) == "zeros")
        #expect(try setup.look(start) == "fault" && setup.look(last) == "fault")
        #expect(try file.bind([.unmap(start, 4096)]) == 0)
        #expect(try setup.look(start) == "zeros")
        #expect(try file.exec(channel, []) == 0)
        #expect(try file.bind([]) == 0)
        #expect(try setup.look(last) == "memory" && setup.look(middle) == "zeros")
        try setup.evict()
        #expect(try setup.look(last) == "fault" && setup.look(middle) == "zeros")
        #expect(try file.bind([.unmap(Self.base, 512 * Self.mib)]) == 0)
        for page in [start, start + 4096, middle, last] {
            #expect(try setup.look(page) == "zeros", "\(page)")
        }
        #expect(try file.bind([.unmapSparse(Self.base, 512 * Self.mib)]) == 0)
        #expect(try setup.look(start) == "fault")
    }

    @Test("A region is made over a buffer that was evicted before")
    func regionAfterwards() throws {
        let setup = try Setup(region: 0)
        let file = setup.file
        let buffer = try file.gemNew(4 * Self.mib, domain: 0x22).handle
        let other = try file.gemNew(4 * Self.mib, domain: 0x22).handle
        let far = Self.base + 512 * Self.mib
        #expect(try file.bind([.map(buffer, at: Self.base, 4 * Self.mib)]) == 0)
        try setup.evict()
        #expect(try file.bind([.map(other, at: far, 64 << 10)]) == 0)
        #expect(try file.bind([.mapSparse(Self.base, 1024 * Self.mib)]) == 0)
        try setup.fillTables()
        #expect(try file.bind([.unmap(Self.base + 4096, 4096)]) == 0)
        #expect(try file.bind([.unmap(far + 4096, 4096)]) == 0)
        for start in [Self.base, far] {
            #expect(try setup.look(start) == "fault")
            #expect(try setup.look(start + 4096) == "zeros")
        }
    }

    @Test("Two evicted buffers share 2 MiB, of which one is outside of the region")
    func shared() throws {
        let setup = try Setup(region: 64 << 10)
        let file = setup.file
        let inside = try file.gemNew(4 * Self.mib, domain: 0x22).handle
        let outside = try file.gemNew(4 * Self.mib, domain: 0x22).handle
        let beside = Self.base + (64 << 10)
        #expect(
            try file.bind([
                .map(inside, at: Self.base, 64 << 10), .map(outside, at: beside, 64 << 10),
            ]) == 0)
        try setup.evict()
        for page in [Self.base, beside] { #expect(try setup.look(page) == "fault") }
        #expect(try file.bind([.unmap(beside, 64 << 10)]) == 0)
        try setup.fillTables()
        #expect(try file.bind([.unmap(Self.base, 32 << 10)]) == 0)
        #expect(try setup.look(Self.base) == "zeros")
        #expect(try setup.look(Self.base + (32 << 10)) == "fault")
        #expect(try setup.look(beside) == "fault")
    }

    @Test("Two regions share 2 MiB, and go one by one", arguments: [false, true])
    func neighbours(isReversed: Bool) throws {
        let setup = try Setup(region: 0)
        let file = setup.file
        let cut = Self.base + 2 * Self.mib + 0x5000
        let regions = [(Self.base, cut - Self.base), (cut, 3 * Self.mib)]
        for (start, bytes) in regions { #expect(try file.bind([.mapSparse(start, bytes)]) == 0) }
        // Memory that came and went leaves the tables to the regions.
        let buffer = try file.gemNew(4 * Self.mib).handle
        #expect(try file.bind([.map(buffer, at: Self.base, 64 << 10)]) == 0)
        #expect(try file.bind([.map(buffer, at: cut, 64 << 10)]) == 0)
        #expect(try file.bind([.unmap(Self.base, 8 * Self.mib)]) == 0)
        try setup.fillTables()
        let (first, second) = isReversed ? (regions[1], regions[0]) : (regions[0], regions[1])
        #expect(try file.bind([.unmapSparse(first.0, first.1)]) == 0)
        for page in [first.0, first.0 + first.1 - 4096] {
            #expect(try setup.look(page) == "fault", "\(page)")
        }
        for page in [second.0, second.0 + second.1 - 4096] {
            #expect(try setup.look(page) == "zeros", "\(page)")
        }
        #expect(try file.bind([.unmapSparse(second.0, second.1)]) == 0)
        #expect(try setup.look(second.0) == "fault")
    }
}
