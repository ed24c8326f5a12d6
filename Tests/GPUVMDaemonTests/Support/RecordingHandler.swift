import Fencing
import WireProtocol

@testable import GPUVMDaemon

/// Keeps connections open and counts calls; a graceful shutdown may be made to wait.
final class RecordingHandler: ConnectionHandler {
    struct Log {
        var sockets: [UnixSocket] = []
        var credentials: [UnixSocket.Credentials] = []
        var shutdowns: [Bool] = []
        var isHurried = false
        var configurations: [DaemonConfiguration] = []
    }

    let log = Guarded(.daemon, Log())
    let changed = Condition()
    let waitsOnGracefulShutdown: Bool

    init(waitsOnGracefulShutdown: Bool = false) {
        self.waitsOnGracefulShutdown = waitsOnGracefulShutdown
    }

    var sessionCount: Int { log.withLock { $0.sockets.count } }

    func accept(_ socket: UnixSocket, credentials: UnixSocket.Credentials) {
        log.withLock { log in
            log.sockets.append(socket)
            log.credentials.append(credentials)
        }
        changed.broadcast()
    }

    func reconfigure(_ configuration: DaemonConfiguration) {
        log.withLock { $0.configurations.append(configuration) }
    }

    func shutdown(graceful: Bool) {
        log.withLock { log in
            log.shutdowns.append(graceful)
            if !graceful { log.isHurried = true }
        }
        changed.broadcast()
        if graceful && waitsOnGracefulShutdown {
            _ = log.wait(on: changed, deadline: deadline()) { $0.isHurried ? true : nil }
        }
        log.withLock { $0.sockets = [] }
    }

    /// Waits until `predicate` holds; false after 10 s.
    func wait(until predicate: (Log) -> Bool) -> Bool {
        log.wait(on: changed, deadline: deadline()) { predicate($0) ? true : nil } ?? false
    }

    private func deadline() -> UInt64 { Runtime.deadline(after: 10_000_000_000) }
}
