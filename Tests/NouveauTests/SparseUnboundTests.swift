import Device
import Glibc
import Testing

@Suite("nouveau: a buffer that comes back when no page table is left")
struct SparseUnboundTests {
    /// Its entries in the sparse region are holes, which have kept their tables.
    @Test("An exec binds it anew, and it can be unmapped then")
    func unmap() throws {
        let fixture = try NouveauFixture {
            $0.vramBytes = 16 << 20
            $0.pageTableBytes = 48 * 4096
        }
        let file = fixture.open()
        try file.vmInit()
        let channel = try file.channelAlloc()
        let (base, bytes) = (UInt64(64) << 30, UInt64(512) << 20)
        #expect(try file.bind([.mapSparse(base, bytes)]) == 0)
        let moved = try file.gemNew(4 << 20, domain: 0x02).handle
        #expect(try file.bind([.map(moved, at: base, 4 << 20)]) == 0)
        // Takes its VRAM away, and is gone.
        let other = try file.gemNew(14 << 20, domain: 0x02).handle
        try file.expect(Request.gemClose, Bytes(8).put(0, other))
        // All page tables have an owner.
        let page = try file.gemNew(4096).handle
        var errno: Int32 = 0
        var address: UInt64 = 1 << 30
        while errno == 0 {
            errno = try file.bind([.map(page, at: address, 4096)])
            address += 4 << 20
        }
        #expect(errno == ENOSPC)
        #expect(try file.exec(channel, []) == 0)
        #expect(try file.bind([.unmap(base + 0x10000, 0x10000)]) == 0)
        #expect(try file.exec(channel, []) == 0)
        #expect(try file.bind([.unmap(base, bytes), .unmapSparse(base, bytes)]) == 0)
    }
}
