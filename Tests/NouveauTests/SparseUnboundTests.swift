import Device
import Glibc
import Testing

@Suite("nouveau: a buffer that is back, and whose entries are not")
struct SparseUnboundTests {
    /// The page tables are full while the buffer is resident and its entries in the sparse region are
    /// holes: an exec has brought it back, and found no tables to bind it anew.
    @Test("Unmapping in a sparse region what was brought back and not bound anew")
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
        // What is left: spans that have their directory.
        errno = 0
        var bound = try file.exec(channel, [])
        #expect(bound == ENOSPC)
        // The entries are holes still, and the buffer is where it belongs.
        let refused = try file.bind([.unmap(base + 0x10000, 0x10000)])
        #expect(refused == 0 || refused == ENOSPC, "\(refused)")
        bound = try file.exec(channel, [])
        #expect(bound == 0 || bound == ENOSPC)
    }
}
