import CWireProtocol
import Fencing
import GPUVMClient
import Glibc
import TestSupport
import Testing

@testable import Device
@testable import GPUVMDaemon
@testable import WireProtocol

/// A daemon in this process on a socket of its own, stopped with the object.
final class TestDaemon: Sendable {
    let directory: TemporaryDirectory
    let daemon: Daemon
    let log = CapturedLog()
    private let server = ServerBox()

    /// Where the daemon's factory leaves what it made.
    private final class ServerBox: Sendable {
        let made = Guarded<SessionServer?>(.leaf, nil)
    }

    var path: String { daemon.socketPath }

    /// A small device: nothing of it depends on the sizes but the tests of quotas.
    init(_ change: (inout DaemonConfiguration) -> Void = { _ in }) throws {
        directory = try TemporaryDirectory()
        var configuration = DaemonConfiguration()
        configuration.device.vram = 64 << 20
        configuration.device.systemMemory = 256 << 20
        configuration.device.pageTableMemory = 16 << 20
        change(&configuration)
        let box = server
        daemon = Daemon(
            configuration: configuration, socketPath: "\(directory.path)/s", logger: log.logger()
        ) { services in
            let handler = try DeviceSessions.make(services)
            box.made.withLock { $0 = handler as? SessionServer }
            return handler
        }
        try daemon.start()
    }

    deinit { daemon.stop(graceful: false) }

    func connect(_ name: String = "client") throws -> Connection {
        try Connection.connect(path: path, name: name)
    }

    /// A client of another user, who is neither the daemon's nor root.
    func connectAsStranger(_ name: String) throws -> Connection {
        try Connection(adopting: strangerSocket(uid: 65_534), name: name)
    }

    /// A connection of another user, of group 65533 and this process's supplementary groups.
    func strangerSocket(uid: UInt32) throws -> UnixSocket {
        let (own, theirs) = try UnixSocket.pair()
        let server = try #require(server.made.withLock { $0 })
        server.accept(
            theirs, credentials: UnixSocket.Credentials(pid: getpid(), uid: uid, gid: 65_533))
        return own
    }

    /// Exported fence descriptors that the daemon keeps an entry for.
    var fenceFiles: Int { server.made.withLock { $0 }?.fenceFiles.count ?? 0 }

    /// Queues that the VMs keep, with or without handles, their own included.
    func queuesOfVMs() -> Int {
        let clients = server.made.withLock { $0 }?.device.clients ?? []
        return clients.flatMap(\.allVMs).reduce(0) { $0 + $1.vm.queueCount }
    }

    /// What must be as before when the clients in between have gone.
    func counts(_ observer: Connection) throws -> DeviceCounts {
        DeviceCounts(try observer.status(), fenceFiles: fenceFiles)
    }

    /// How many clients have come and gone.
    var departures: Int { log.lines().count { $0.contains("client gone") } }

    /// Whether `condition` holds, or comes to hold within 20 s.
    func eventually(_ condition: () throws -> Bool) rethrows -> Bool {
        let deadline = soon()
        while !(try condition()) {
            guard Runtime.now() < deadline else { return false }
            sched_yield()
        }
        return true
    }

    /// Waits, at most 20 s, until the daemon's counts are `expected`; the last counts seen.
    func settle(_ observer: Connection, to expected: DeviceCounts) throws -> DeviceCounts {
        var counts = try counts(observer)
        _ = try eventually {
            counts = try self.counts(observer)
            return counts == expected
        }
        return counts
    }
}

/// What a daemon holds for its clients.
struct DeviceCounts: Equatable, CustomStringConvertible {
    let clients, vms, bos, queues, syncobjs: UInt32
    let mappings, vramUsed, systemUsed, tablePagesUsed, tablePagesReserved: UInt64
    let fenceFiles: Int

    init(_ status: gpuvm_status_reply, fenceFiles: Int = 0) {
        clients = status.clients
        vms = status.vms
        bos = status.bos
        queues = status.queues
        syncobjs = status.syncobjs
        mappings = status.mappings
        vramUsed = status.vram_used
        systemUsed = status.system_used
        tablePagesUsed = status.table_pages_used
        tablePagesReserved = status.table_pages_reserved
        self.fenceFiles = fenceFiles
    }

    var description: String {
        """
        clients \(clients), VMs \(vms), BOs \(bos), queues \(queues), syncobjs \(syncobjs), \
        mappings \(mappings), VRAM \(vramUsed), system \(systemUsed), tables \(tablePagesUsed)+\
        \(tablePagesReserved), fence files \(fenceFiles)
        """
    }
}

/// An absolute deadline that only a defect reaches.
func soon() -> UInt64 { Runtime.deadline(after: 20_000_000_000) }

/// Whether `fd` is readable, or becomes so within `milliseconds`.
func becomesReadable(_ fd: Int32, milliseconds: Int32 = 20_000) -> Bool {
    var descriptor = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
    return poll(&descriptor, 1, milliseconds) == 1
}

/// The errno that `body` fails with; nil if it succeeds.
func errno(of body: () throws -> Void) -> Int32? {
    do {
        try body()
        return nil
    } catch let error as ClientError {
        return error.code.rawValue
    } catch {
        return -1
    }
}
