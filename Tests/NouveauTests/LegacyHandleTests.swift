@testable import Device
import Fencing
import Glibc
import TestSupport
import Testing

@Suite("nouveau: handles of the old interface, closed while in use")
struct LegacyHandleTests {
    @Test("Who asks about a handle while another thread closes it leaves no mapping behind")
    func leak() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        _ = try file.channelAlloc()
        let vm = try #require(file.file.client.allVMs.first?.vm)
        let before = vm.mappingCount
        let latest = Guarded(.leaf, UInt32(0))
        let stop = Guarded(.leaf, false)
        let askers = (0..<2).compactMap { _ in
            RuntimeThread.start(name: "asker", stackBytes: 4 << 20) {
                while !stop.withLock({ $0 }) {
                    let handle = latest.withLock { $0 }
                    _ = try? file.call(Request.gemInfo, Bytes(40).put(0, handle))
                }
            }
        }
        for _ in 0..<1500 {
            let made = try file.expect(
                Request.gemNew, Bytes(48).put(4, UInt32(2)).put(8, UInt64(4096))
            ).argument
            latest.withLock { $0 = made.u32(0) }
            try file.expect(Request.gemClose, Bytes(8).put(0, made.u32(0)))
        }
        stop.withLock { $0 = true }
        for asker in askers { asker.join() }
        #expect(vm.mappingCount == before)
    }
}
