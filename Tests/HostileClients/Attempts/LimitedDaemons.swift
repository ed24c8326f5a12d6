import Fencing
import GPUVMClient
import Glibc
import TestSupport
import WireProtocol

/// Daemons with settings or limits of their own, each with its attack.
struct LimitedDaemon: Sendable {
    let name: String
    let settings: [String: String]
    /// A shell's command before the daemon starts.
    let limit: String?
    /// Where its log goes.
    let disk: Disk
    let attack: @Sendable (DaemonUnderTest, Tally) throws -> Void

    /// Where a log goes.
    enum Disk: Sendable {
        case roomy
        /// A file system of 64 KiB; needs root.
        case small
        /// A file that has almost the size that `limit` allows, most of it a hole.
        case longFile(bytes: Int)
    }

    static let all = [
        LimitedDaemon(
            name: "users who are not listed",
            settings: ["GPUVM_ACCESS_USERS": "1", "GPUVM_ACCESS_GROUPS": "12345, 12346"],
            limit: nil, disk: .roomy, attack: knock),
        LimitedDaemon(
            name: "descriptors used up: the daemon has 200", settings: [:],
            limit: "ulimit -n 200", disk: .roomy, attack: useUpDescriptors),
        LimitedDaemon(
            name: "log at RLIMIT_FSIZE", settings: talkative.merging(small) { $1 },
            // A shell counts blocks of 512 bytes. Memory files have to fit, too.
            limit: "ulimit -f 131072", disk: .longFile(bytes: 65_528 << 10), attack: writeLog),
        LimitedDaemon(
            name: "log on a full file system", settings: talkative, limit: nil, disk: .small,
            attack: writeLog),
    ]

    private static let talkative = [
        "GPUVM_LOG_LEVEL": "trace", "GPUVM_LOG_CLIENT_LINES_PER_SECOND": "10000",
    ]
    private static let small = [
        "GPUVM_DEVICE_VRAM": "16MiB", "GPUVM_DEVICE_SYSTEM_MEMORY": "16MiB",
        "GPUVM_DEVICE_PAGE_TABLE_MEMORY": "16MiB",
    ]

    /// Another user knocks, without and with a supplementary group that is listed.
    private static func knock(_ daemon: DaemonUnderTest, _ tally: Tally) throws {
        guard geteuid() == 0 else { return tally.note("left out: it takes root") }
        for index in 0..<20 {
            let groups = index % 4 == 0 ? ["7", "12346"] : ["7"]
            let child = try Child([Child.own, "knock", daemon.socket] + groups)
            let answer = child.wait()
            tally.note(errno: answer)
            guard answer == (groups.count == 2 ? 0 : EACCES) else {
                throw Failure("a stranger of groups \(groups) is answered \(answer)")
            }
        }
    }

    private static func useUpDescriptors(
        _ daemon: DaemonUnderTest, _ tally: Tally
    ) throws {
        var buffers: [BufferObject] = []
        var connections: [Connection] = []
        for index in 0..<3 {
            tally.attempt {
                let connection = try Connection.connect(
                    path: daemon.socket, name: "hoarder-\(index)")
                connections.append(connection)
                for _ in 0..<300 {
                    var isFull = false
                    tally.attempt {
                        isFull = true
                        buffers.append(try connection.makeBuffer(size: 4096))
                        isFull = false
                    }
                    if isFull { break }
                }
            }
        }
        for _ in 0..<100 {
            tally.attempt {
                connections.append(try Connection.connect(path: daemon.socket, name: "more"))
            }
        }
        guard buffers.count > 50 else { throw Failure("\(buffers.count) buffers only") }
        for connection in connections { connection.close() }
    }

    private static func writeLog(_ daemon: DaemonUnderTest, _ tally: Tally) throws {
        for _ in 0..<400 {
            tally.attempt { _ = try RawConnection(daemon.socket, hello: "log") }
            tally.attempt {
                let raw = try RawConnection(daemon.socket, hello: "log")
                try raw.send([1, 2, 3])
                _ = try raw.receive()
            }
        }
        guard tally.count("ok") == tally.attempts else {
            throw Failure("a log that cannot be written keeps clients from being served")
        }
    }
}
