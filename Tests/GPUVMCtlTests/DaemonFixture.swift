import GPUVMDaemon
import Glibc
import Logging

/// Runs `body` with the socket of a daemon of its own, in this process.
///
/// - Parameter path: Where the socket is to be, if that matters.
func withDaemon(
    at path: String? = nil, _ change: (inout DaemonConfiguration) -> Void = { _ in },
    _ body: (String) throws -> Void
) throws {
    let path = path ?? "/tmp/gpuvmctl-test-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    var configuration = DaemonConfiguration()
    change(&configuration)
    let daemon = Daemon(
        configuration: configuration, socketPath: path, logger: logger,
        makeHandler: DeviceSessions.make)
    try daemon.start()
    defer { daemon.stop() }
    try body(path)
}
