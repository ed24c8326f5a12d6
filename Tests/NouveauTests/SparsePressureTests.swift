import Device
import Glibc
import Testing

@Suite("nouveau: sparse regions without page tables to spare")
struct SparsePressureTests {
    @Test("What could be mapped in a sparse region can be unmapped, however full the tables are")
    func unmap() throws {
        let fixture = try NouveauFixture { $0.pageTableBytes = 64 * 4096 }
        let file = fixture.open()
        try file.vmInit()
        let buffer = try file.gemNew(1 << 20).handle
        let (base, bytes) = (UInt64(64) << 30, UInt64(512) << 20)
        #expect(try file.bind([.mapSparse(base, bytes)]) == 0)
        var mapped: [UInt64] = []
        // A table each, and the cut through a region that upper levels describe.
        for index in UInt64(0)..<128 {
            let address = base + index * (4 << 20) + 0x3000
            let errno = try file.bind([.map(buffer, at: address, 0x4000)])
            guard errno == 0 else {
                #expect(errno == ENOSPC || errno == ENOMEM, "\(errno)")
                break
            }
            mapped.append(address)
        }
        #expect(mapped.count > 4 && mapped.count < 128)
        // In the middle, which leaves two mappings; then all; twice.
        for address in mapped {
            #expect(try file.bind([.unmap(address + 0x1000, 0x1000)]) == 0, "\(address)")
        }
        for address in mapped { #expect(try file.bind([.unmap(address, 0x4000)]) == 0) }
        #expect(try file.bind([.unmap(base, bytes)]) == 0)
        let vm = try #require(file.file.client.allVMs.first?.vm)
        for address in mapped {
            guard let walk = vm.walk(address), case .leaf(let leaf) = walk.result else {
                Issue.record("a hole at \(address)")
                continue
            }
            #expect(leaf.isNull)
        }
        #expect(try file.bind([.unmapSparse(base, bytes)]) == 0)
    }
}
