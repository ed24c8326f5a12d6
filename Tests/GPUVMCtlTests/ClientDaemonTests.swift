import CPlatform
import CWireProtocol
import Fencing
import GPUVMClient
import Glibc
import SystemPackage
import Testing
import WireProtocol

/// The client library's wrappers against a real daemon.
@Suite(.timeLimit(.minutes(2)))
struct ClientDaemonTests {
    private func connect(_ path: String, _ body: (Connection) throws -> Void) throws {
        let connection = try Connection.connect(path: path, name: "test")
        defer { connection.close() }
        try body(connection)
    }

    private func code(_ body: () throws(ClientError) -> Void) -> Errno? {
        do throws(ClientError) {
            try body()
            return nil
        } catch {
            return error.code
        }
    }

    private func soon() -> UInt64 { Runtime.deadline(after: 10_000_000_000) }

    /// Both directions are far above what fits into one message.
    @Test func longBindsTravelByMemfd() throws {
        try withDaemon { path in
            try connect(path) { connection in
                let vm = try connection.makeVM(range: 1 << 40, name: "long")
                let bo = try connection.makeBuffer(size: 1 << 20, name: "bo")
                let count = UInt64(min(connection.server.maxBindOps, 3000))
                // Every other page, so that no two mappings could be one.
                let maps = (0..<count).map { index in
                    BindOperation.map(
                        bo, at: 0x10_0000 + index * 8192, range: 4096, offset: index % 256 * 4096)
                }
                let result = try vm.bind(maps, returningOperations: true)
                #expect(result.operations.count == Int(count))
                let addresses = result.operations.map(\.mapping.address)
                #expect(addresses == (0..<count).map { 0x10_0000 + $0 * 8192 })
                let id = try #require(try connection.vms().first).id
                let mappings = try connection.mappings(ofVM: id)
                #expect(mappings.map(\.address) == addresses)
                try vm.bind([.unmapAll(bo)])
                #expect(try connection.mappings(ofVM: id).isEmpty)
                try vm.close()
                #expect(code { () throws(ClientError) in try vm.close() } == .noSuchFileOrDirectory)
            }
        }
    }

    @Test func buffersAreSharedByDescriptor() throws {
        try withDaemon { path in
            try connect(path) { owner in
                let bo = try owner.makeBuffer(size: 5000, placement: .vram, name: "shared")
                #expect(bo.size == 8192 && bo.placement == .vram)
                try bo.map().storeBytes(of: 0x1234_5678, toByteOffset: 4096, as: UInt32.self)
                let exported = try bo.export()
                try connect(path) { other in
                    let copy = try other.importBuffer(exported.duplicate(), size: 8192)
                    #expect(
                        try copy.map().load(fromByteOffset: 4096, as: UInt32.self) == 0x1234_5678)
                    #expect(try copy.info().physical_address == bo.info().physical_address)
                    try copy.close()
                }
                try bo.close()
            }
        }
    }

    @Test func syncobjsInAllTheirForms() throws {
        try withDaemon { path in
            try connect(path) { connection in
                let timeline = try connection.makeSyncobj()
                let twin = try connection.importSyncobj(try timeline.export())
                try connection.signal([timeline.point(3)])
                #expect(try twin.query() == 3)
                try connection.wait(for: [twin.point(3)], deadline: soon())
                let file = try timeline.exportSyncFile(point: 3)
                var descriptor = pollfd(fd: file.rawValue, events: Int16(POLLIN), revents: 0)
                #expect(poll(&descriptor, 1, 5000) == 1)
                let binary = try connection.makeSyncobj()
                try binary.importSyncFile(file)
                try connection.wait(for: [binary.binary], deadline: soon())
                try binary.reset()
                let unsubmitted = code { () throws(ClientError) in
                    try connection.wait(for: [binary.binary], deadline: soon())
                }
                #expect(unsubmitted == .invalidArgument)
                try connection.transfer(from: timeline.point(3), to: binary.binary)
                try connection.wait(for: [binary.binary], deadline: soon())
                let event = OwnedFD(gpuvm_eventfd_create(0))
                try timeline.notify(eventfd: event, point: 9)
                try connection.signal([timeline.point(9)])
                descriptor.fd = event.rawValue
                #expect(poll(&descriptor, 1, 5000) == 1)
                try twin.destroy()
                try timeline.destroy()
            }
        }
    }

    /// More objects than one futex wait takes: the daemon answers the request when it is over.
    @Test func longWaitsAreTheDaemons() throws {
        try withDaemon { path in
            try connect(path) { connection in
                let objects = try (0..<200).map { _ in try connection.makeSyncobj() }
                let points = objects.map(\.binary)
                let late = code { () throws(ClientError) in
                    try connection.wait(
                        for: points, flags: [.all, .forSubmit],
                        deadline: Runtime.deadline(after: 1_000_000))
                }
                #expect(late == .timeout)
                let waiter = RuntimeThread.start(name: "signaller") {
                    try? connection.signal(points)
                }
                try connection.wait(for: points, flags: [.all, .forSubmit], deadline: soon())
                waiter?.join()
                let first = try connection.wait(for: points, deadline: soon())
                #expect(first == 0)
            }
        }
    }

    @Test func queuesTellWhatTheyDid() throws {
        try withDaemon { path in
            try connect(path) { connection in
                let vm = try connection.makeVM(range: 1 << 40)
                let bo = try connection.makeBuffer(size: 4096)
                try vm.bind([.map(bo, at: 0x10000, range: 4096)])
                var commands = CommandWriter()
                commands.store(0x10800, dword: 42)
                commands.end()
                let memory = try bo.map()
                commands.dwords.withUnsafeBytes { memory.copyMemory(from: $0) }
                let queue = try vm.makeQueue(.copy, priority: .low)
                let done = try connection.makeSyncobj()
                let fence = try queue.exec([.init(address: 0x10000)], signals: [done.binary])
                try connection.wait(for: [done.binary], deadline: soon())
                #expect(memory.load(fromByteOffset: 0x800, as: UInt32.self) == 42)
                let info = try connection.fenceInfo(fence)
                #expect(info.signaled == 1 && info.error == 0)
                #expect(info.submitted <= info.started && info.started <= info.finished)
                #expect(try queue.info().completed == 1)
                #expect(try connection.queues().contains { $0.submitted == 1 && $0.priority == 0 })
                try queue.close()
            }
        }
    }
}
