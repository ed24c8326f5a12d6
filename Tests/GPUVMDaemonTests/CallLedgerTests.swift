import Device
import Engines
import Fencing
import TestSupport
import Testing

@testable import GPUVMDaemon

/// Counters of calls and of open files.
@Suite("Counters of open files")
struct CallLedgerTests {
    private func request(_ number: UInt32, type: UInt32 = 0x64, size: UInt32 = 16) -> IoctlRequest {
        IoctlRequest(3 << 30 | size << 16 | type << 8 | number)
    }

    @Test("Calls are told apart by number and errno, not by size")
    func calls() {
        let ledger = CallLedger()
        for size in [16, 24, 40] as [UInt32] { ledger.note(request(0x47, size: size), result: 0) }
        ledger.note(request(0x51), result: 0)
        ledger.note(request(0x51), result: -22)
        ledger.note(request(0x51), result: -2)
        ledger.note(request(0x51), result: -22)
        // A driver's own type, and a positive result.
        ledger.note(request(0x03, type: 0x3e), result: 7)
        #expect(
            ledger.calls == [
                CallLedger.Entry(number: 0x3e03, error: 0, count: 1),
                CallLedger.Entry(number: 0x6447, error: 0, count: 3),
                CallLedger.Entry(number: 0x6451, error: 0, count: 1),
                CallLedger.Entry(number: 0x6451, error: 2, count: 1),
                CallLedger.Entry(number: 0x6451, error: 22, count: 2),
            ])
        #expect(ledger.totals == (8, 3))
    }

    @Test("A ledger that gave its room back has the same counts, and goes on counting")
    func compaction() {
        let ledger = CallLedger()
        ledger.note(request(0x47), result: 0)
        for error in 1...3 { ledger.note(request(0x51), result: Int32(-error)) }
        let before = ledger.calls
        ledger.compact()
        #expect(ledger.calls == before && before.count == 4)
        for error in 1...4 { ledger.note(request(0x51), result: Int32(-error)) }
        for number in [0x47, 0x47, 0x48] as [UInt32] { ledger.note(request(number), result: 0) }
        #expect(ledger.calls.map(\.number) == [0x6447, 0x6448, 0x6451, 0x6451, 0x6451, 0x6451])
        #expect(ledger.calls.map(\.count) == [3, 1, 2, 2, 2, 1])
        #expect(ledger.totals == (11, 7))
    }

    @Test("What there is no room to tell apart is counted together, and nothing is lost")
    func overflow() {
        let ledger = CallLedger()
        for error in 1...1000 { ledger.note(request(0x51), result: Int32(-error)) }
        let calls = ledger.calls
        #expect(calls.count == 512)
        #expect(calls.reduce(0) { $0 + $1.count } == 1000)
        #expect(calls.last == CallLedger.Entry(number: .max, error: 0, count: 489))
    }

    @Test("Calls have the names of the kernel's headers")
    func names() {
        #expect(IoctlName.of(request(0x51)) == "VM_BIND")
        #expect(IoctlName.of(request(0xca)) == "SYNCOBJ_TIMELINE_WAIT")
        #expect(IoctlName.of(request(0x03, type: 0x62)) == "DMA_BUF_IMPORT_SYNC_FILE")
        #expect(IoctlName.of(request(0x7f)) == "0x647f")
        // Whatever is served has one.
        for call in NouveauIoctl.allCases {
            #expect(!IoctlName.of(request(UInt32(call.rawValue))).hasPrefix("0x"), "\(call)")
        }
    }

    @Test("Closed files are remembered, the last of them")
    func files() throws {
        var configuration = DeviceConfiguration()
        configuration.vramBytes = 1 << 20
        configuration.systemBytes = 1 << 20
        configuration.pageTableBytes = 1 << 20
        let device = try Device(configuration)
        defer { device.shutdown(deadline: 0) }
        let list = DRMFileList()
        let total = DRMFileList.maximumClosed + 10
        var ids: [UInt32] = []
        for number in 0..<total {
            let client = device.makeClient(
                name: "p\(number)", process: Int32(number), user: 0, isPrivileged: false)
            ids.append(client.id)
            let ledger = list.open(client)
            ledger.note(request(0x40), result: 0)
            client.close()
            // One stays open: it is never forgotten.
            if number != 0 { list.close(client.id) }
        }
        let files = list.files
        #expect(files.count == DRMFileList.maximumClosed + 1)
        #expect(files.first?.client == ids[0] && files.first?.closed == 0)
        #expect(files[1].client == ids[10])
        #expect(files[1].closed >= files[1].opened && files[1].closed != 0)
        #expect(list.file(ofClient: ids[9]) == nil)
        #expect(list.file(ofClient: ids[10])?.ledger.totals.ioctls == 1)
    }
}
