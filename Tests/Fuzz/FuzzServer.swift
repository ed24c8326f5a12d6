import Fencing
import Glibc
import Logging

@testable import Device
@testable import GPUVMDaemon
@testable import WireProtocol

/// A small device and what serves its clients, for as many inputs as come.
final class FuzzServer: Sendable {
    let device: Device
    let reactor: Reactor
    let sessions: SessionServer
    let nouveau: NouveauDevice

    /// How long what has ended may take to let go of its memory, ns: far more than it does.
    private static let patience: UInt64 = 20_000_000_000

    init() {
        do {
            var configuration = DeviceConfiguration()
            configuration.vramBytes = 8 << 20
            configuration.systemBytes = 16 << 20
            configuration.pageTableBytes = 4 << 20
            configuration.tlbEntries = 256
            configuration.faultLogEntries = 16
            // A stream that waits for ever ends soon.
            configuration.jobTimeout = 3_000_000
            configuration.quotas.syncobjs = 256
            device = try Device(configuration)
            reactor = try Reactor()
            try reactor.start()
            var daemon = DaemonConfiguration()
            // Pauses are for the clock.
            daemon.quotas.requestsPerSecond = 1_000_000_000
            daemon.quotas.requestBurst = 1_000_000_000
            let eventFDs = try EventFDSignaller()
            sessions = SessionServer(
                device: device, name: "fuzz",
                logger: Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() }, reactor: reactor,
                eventFDs: eventFDs, model: .tu104, files: DRMFileList(),
                observers: DRMObservers(), policy: SessionPolicy(daemon))
            nouveau = NouveauDevice(
                device, fenceFiles: ReactorFenceMonitor.registry(on: reactor),
                eventFDs: try EventFDSignaller(), jobTimeout: configuration.jobTimeout)
        } catch {
            fuzzFailure("no device: \(error)")
        }
    }

    func accept(_ socket: UnixSocket, isPrivileged: Bool) {
        // Nobody's number, unless it is root's.
        let user: UInt32 = isPrivileged ? 0 : 65_533
        sessions.accept(
            socket, credentials: UnixSocket.Credentials(pid: 1, uid: user, gid: user))
    }

    /// Waits until all sessions have ended, and checks that no memory is left.
    func expectNothingLeft() {
        let deadline = Runtime.deadline(after: Self.patience)
        // Jobs let go of buffers just behind their fences: whoever has the processor does that.
        while !isEmpty {
            guard Runtime.now() < deadline else { fuzzFailure("left behind: \(leftovers)") }
            sched_yield()
        }
        _ = device.injector.remove(nil)
    }

    private var isEmpty: Bool {
        sessions.sessionCount == 0 && device.clients.isEmpty && device.tablePool.allocated == 0
            && device.memory.vramUsedBytes == 0
    }

    private var leftovers: String {
        """
        \(sessions.sessionCount) sessions, \(device.clients.count) clients, \
        \(device.tablePool.allocated) page-table pages, \(device.memory.vramUsedBytes) bytes of VRAM
        """
    }
}
