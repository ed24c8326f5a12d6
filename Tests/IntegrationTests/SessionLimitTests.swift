import CPlatform
import CWireProtocol
import Fencing
import GPUVMClient
import Glibc
import Testing
import WireProtocol

@testable import GPUVMDaemon

/// What one connection can make the daemon keep, do or mistake.
@Suite struct SessionLimitTests {
    /// Sends a wait for `count` points of an object without a fence.
    private func wait(_ raw: RawClient, _ handle: UInt32, _ count: Int) throws -> UInt32 {
        try raw.send(
            .syncobjWait,
            gpuvm_syncobj_wait(
                count: UInt32(count), flags: GPUVM_WAIT_FOR_SUBMIT, deadline: .max),
            array: [gpuvm_sync](
                repeating: gpuvm_sync(handle: handle, flags: 0, point: 0), count: count))
    }

    @Test func theObjectsOfAllWaitsAreBounded() throws {
        let daemon = try TestDaemon()
        let raw = try RawClient(daemon.path)
        try raw.hello("waiter")
        let handle = try Attacker.makeSyncobj(raw, signalled: false)
        let other = try Attacker.makeSyncobj(raw, signalled: false)
        // 4000 targets stay inline; 65 × 4000 + 2144 = 262,144.
        var serials: Set<UInt32> = []
        for _ in 0..<65 { serials.insert(try wait(raw, handle, 4000)) }
        let last = try wait(raw, other, 2144)
        let tooMany = try wait(raw, handle, 1)
        let refused = try raw.receive()
        #expect(refused.serial == tooMany && refused.status == EAGAIN)
        #expect(refused.text.contains("262144"), "\(refused.text)")
        // Another connection has its own.
        let second = try RawClient(daemon.path)
        try second.hello("second")
        let object = try Attacker.makeSyncobj(second, signalled: true)
        let serial = try wait(second, object, 4000)
        #expect(try second.receive().serial == serial)
        // A wait that has ended gives its targets back.
        try raw.send(
            .syncobjSignal, gpuvm_syncobj_array(count: 1, flags: 0),
            array: [gpuvm_sync(handle: other, flags: 0, point: 0)])
        let replies = [try raw.receive(), try raw.receive()]
        #expect(replies.contains { $0.serial == last && $0.status == 0 })
        let next = try wait(raw, handle, 2144)
        let still = try wait(raw, handle, 1)
        #expect(try raw.receive().serial == still)
        serials.insert(next)
        try raw.send(
            .syncobjSignal, gpuvm_syncobj_array(count: 1, flags: 0),
            array: [gpuvm_sync(handle: handle, flags: 0, point: 0)])
        for _ in 0...serials.count {
            let reply = try raw.receive()
            #expect(reply.status == 0)
            serials.remove(reply.serial)
        }
        #expect(serials.isEmpty)
    }

    @Test func aChainOfTransfersThatWaitDoesNotExhaustTheStack() throws {
        let daemon = try TestDaemon()
        // Several connections, because the replies of one must fit its socket at once.
        let links = 150
        var raws: [RawClient] = []
        var connections: [Connection] = []
        var first: GPUVMClient.Syncobj?
        var last: GPUVMClient.Syncobj?
        for index in 0..<20 {
            let raw = try RawClient(daemon.path)
            let connection = try Connection(adopting: raw.duplicate(), name: "\(index)")
            var source =
                try last.map { try connection.importSyncobj(try $0.export()) }
                ?? connection.makeSyncobj()
            if first == nil { first = source }
            for _ in 0..<links {
                let destination = try connection.makeSyncobj()
                try raw.send(
                    .syncobjTransfer,
                    gpuvm_syncobj_transfer(
                        destination: destination.binary.raw, source: source.binary.raw,
                        flags: GPUVM_WAIT_FOR_SUBMIT, reserved: 0), array: [UInt8]())
                source = destination
            }
            last = source
            raws.append(raw)
            connections.append(connection)
        }
        let begin = try #require(first)
        try raws[0].send(
            .syncobjSignal, gpuvm_syncobj_array(count: 1, flags: 0), array: [begin.binary.raw])
        for (index, raw) in raws.enumerated() {
            for _ in 0..<(index == 0 ? links + 1 : links) {
                #expect(try raw.receive().status == 0)
            }
        }
        let end = try #require(last)
        try connections[19].wait(for: [end.binary], deadline: 1)
    }

    @Test func anEmptyMessageIsRefusedAndTheConnectionGoesOn() throws {
        let daemon = try TestDaemon()
        let raw = try RawClient(daemon.path)
        try raw.hello("empty")
        let line = daemon.log.count
        for _ in 0..<3 {
            let reply = try raw.call(bytes: [])
            #expect(reply.status == EINVAL && reply.serial == 0)
            #expect(reply.text.contains("0 bytes"), "\(reply.text)")
        }
        #expect(try raw.call(.status).status == 0)
        let refused = daemon.log.lines(from: line).filter { $0.contains("request refused") }
        #expect(refused.count == 3)
        // A peer that sends nothing and leaves has left.
        #expect(raw.sendRaw([], flags: 0) == 0)
        raw.socket.shutdown()
        #expect(daemon.eventually { daemon.departures == 1 })
    }

    /// How many descriptors of this process are the eventfd `fd`.
    private func copies(of fd: Int32) throws -> Int {
        func identity(_ fd: Int32) -> Substring? {
            guard let file = fopen("/proc/self/fdinfo/\(fd)", "r") else { return nil }
            defer { fclose(file) }
            var buffer = [CChar](repeating: 0, count: 4096)
            let count = fread(&buffer, 1, buffer.count, file)
            let text = String(
                decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
            return text.split(separator: "\n").first { $0.hasPrefix("eventfd-id:") }
        }
        let wanted = try #require(identity(fd), "this kernel does not number its eventfds")
        return (0..<4096 as Range<Int32>).count { identity($0) == wanted }
    }

    @Test func theEventFDsOfTheDeadAreClosed() throws {
        let daemon = try TestDaemon()
        let living = try daemon.connect("living")
        let object = try living.makeSyncobj()
        let fd = OwnedFD(gpuvm_eventfd_create(0))
        do {
            let dying = try daemon.connect("dying")
            let shared = try dying.importSyncobj(try object.export())
            for point in [0, 1, 2] as [UInt64] {
                for flags in [0, GPUVM_WAIT_AVAILABLE] {
                    try shared.notify(
                        eventfd: fd, point: point, whenAvailable: flags != 0)
                }
            }
            #expect(try copies(of: fd.rawValue) == 1 + 6)
            dying.close()
        }
        #expect(daemon.eventually { daemon.departures == 1 })
        #expect(try copies(of: fd.rawValue) == 1)
        // Nor is it signalled by what comes later.
        try living.signal([object.binary])
        #expect(!becomesReadable(fd.rawValue, milliseconds: 0))
    }

    @Test func signallingPointZeroOfATimelineKeepsIt() throws {
        let daemon = try TestDaemon()
        let bench = try Workbench(try daemon.connect())
        let opener = try bench.vm.makeQueue(.copy, instance: 1)
        let line = try bench.connection.makeSyncobj()
        try bench.connection.signal([line.point(3)])
        try bench.block(on: 0, signals: [line.point(7)])
        // As DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL: it is added behind the pending point.
        try bench.connection.signal([line.point(0)])
        #expect(try line.query(lastSubmitted: true) == 7)
        #expect(
            errno { try bench.connection.wait(for: [line.point(7)], deadline: 1) } == ETIME)
        try bench.release(0, queue: opener)
        try bench.connection.wait(for: [line.point(7)], deadline: soon())
        #expect(try line.query() == 7)
        // Of an object without a timeline it makes it a signalled one.
        let empty = try bench.connection.makeSyncobj()
        try bench.connection.signal([empty.point(0)])
        try bench.connection.wait(for: [empty.binary], deadline: 1)
        // A binary signal replaces the timeline.
        try bench.connection.signal([line.binary])
        #expect(try line.query(lastSubmitted: true) == 0)
    }

    @Test func aPageMakesItsOwnRecordsOnly() {
        let limit = ListPage<gpuvm_vm_record>.limit
        // 65,536 bytes less header and head, by 200.
        #expect(limit == 327)
        var cursor: UInt64 = 0
        var seen: [UInt32] = []
        var made = 0
        let items = Array((1...1000 as ClosedRange<UInt64>).reversed())
        repeat {
            let page = ListPage(items, after: cursor, key: { $0 * 3 }) { item in
                made += 1
                var record = gpuvm_vm_record()
                record.id = UInt32(item)
                return record
            }
            #expect(page.records.count <= limit)
            seen += page.records.map(\.id)
            cursor = page.cursor
        } while cursor != 0
        #expect(seen == Array(1...1000))
        #expect(made == 1000)
        let exact = ListPage(Array(items.prefix(limit)), after: 0, key: { $0 }) { _ in
            gpuvm_vm_record()
        }
        #expect(exact.records.count == limit && exact.cursor == 0)
    }
}
