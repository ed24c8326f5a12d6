import Fencing
import GPUVMClient
import Glibc
import TestSupport
import Testing
import WireProtocol

/// A process whose standard output and standard error are collected.
final class ChildProcess {
    let pid: Int32
    private let output: OwnedFD
    private var text: [UInt8] = []
    private var status: Int32?

    /// A program that the package manager has put beside the test bundle.
    static func path(of program: String) -> String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let length = readlink("/proc/self/exe", &buffer, buffer.count)
        let bytes = buffer[..<max(0, length)].map { UInt8(bitPattern: $0) }
        let bundle = String(decoding: bytes, as: UTF8.self)
        return bundle.split(separator: "/").dropLast().map { "/\($0)" }.joined() + "/\(program)"
    }

    /// Starts a program with arguments; `passing` becomes descriptor 9 of it.
    init(
        _ program: String, _ arguments: [String], environment: [String: String] = [:],
        passing: Int32? = nil
    ) throws {
        let ends = try Self.stream()
        output = OwnedFD(ends[0])
        let writing = OwnedFD(ends[1])
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, writing.rawValue, 1)
        posix_spawn_file_actions_adddup2(&actions, writing.rawValue, 2)
        // Through a number that is in nobody's way: a dup2 of a number to itself keeps CLOEXEC.
        let parked = passing.map { fcntl($0, F_DUPFD_CLOEXEC, 100) }
        defer { if let parked { close(parked) } }
        if let parked { posix_spawn_file_actions_adddup2(&actions, parked, 9) }
        let words = [Self.path(of: program)] + arguments
        var pointers: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"
        let variables = environment.merging(["PATH": path]) { old, _ in old }
        var settings: [UnsafeMutablePointer<CChar>?] =
            variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in pointers + settings { free(pointer) } }
        var pid: Int32 = 0
        let result = posix_spawn(&pid, words[0], &actions, nil, &pointers, &settings)
        try #require(result == 0, "cannot start \(words[0]): errno \(result)")
        self.pid = pid
    }

    deinit {
        if status == nil {
            kill(pid, SIGKILL)
            waitpid(pid, nil, 0)
        }
    }

    /// Two ends of a stream, close-on-exec from the start: other tests start processes meanwhile.
    static func stream() throws -> [Int32] {
        var ends: [Int32] = [-1, -1]
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        try #require(socketpair(AF_UNIX, type, 0, &ends) == 0)
        return ends
    }

    func signal(_ number: Int32) { kill(pid, number) }

    /// The exit status (128 + signal if killed) and all output; kills it after 30 s of silence.
    func waitForEnd() -> (status: Int32, output: String) {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            guard becomesReadable(output.rawValue, milliseconds: 30_000) else {
                kill(pid, SIGKILL)
                break
            }
            let count = read(output.rawValue, &buffer, buffer.count)
            guard count > 0 else { break }
            text += buffer[..<count]
        }
        var raw: Int32 = 0
        waitpid(pid, &raw, 0)
        let signal = raw & 0x7F
        let status = signal == 0 ? (raw >> 8) & 0xFF : 128 + signal
        self.status = status
        return (status, String(decoding: text, as: UTF8.self))
    }
}

/// `gpuvmd` as a process of its own, whose descriptors are nobody else's.
final class DaemonProcess {
    let directory: TemporaryDirectory
    let process: ChildProcess
    var path: String { "\(directory.path)/s" }

    init(
        in directory: TemporaryDirectory? = nil, environment: [String: String] = [:]
    ) throws {
        let directory = try directory ?? TemporaryDirectory()
        self.directory = directory
        let ends = try ChildProcess.stream()
        let reading = OwnedFD(ends[0])
        do {
            let writing = OwnedFD(ends[1])
            process = try ChildProcess(
                "gpuvmd", ["--socket", "\(directory.path)/s", "--ready-fd", "9"],
                environment: [
                    "GPUVM_DEVICE_VRAM": "64MiB", "GPUVM_DEVICE_SYSTEM_MEMORY": "256MiB",
                    "GPUVM_DEVICE_PAGE_TABLE_MEMORY": "16MiB", "GPUVM_LOG_LEVEL": "error",
                ].merging(environment) { $1 }, passing: writing.rawValue)
        }
        var buffer = [UInt8](repeating: 0, count: 64)
        try #require(becomesReadable(reading.rawValue))
        let count = read(reading.rawValue, &buffer, buffer.count)
        try #require(
            count > 0 && String(decoding: buffer[..<count], as: UTF8.self) == "ready\n",
            "\(process.waitForEnd())")
    }

    func connect(_ name: String = "client") throws -> Connection {
        try Connection.connect(path: path, name: name)
    }

    /// The counts with the process's descriptors in the place of the fence files.
    func counts(_ observer: Connection) throws -> DeviceCounts {
        let status = try observer.status()
        return DeviceCounts(status, fenceFiles: Int(status.open_fds))
    }

    /// Waits, at most 20 s, until the counts are `expected`; the last ones seen.
    func settle(_ observer: Connection, to expected: DeviceCounts) throws -> DeviceCounts {
        let deadline = soon()
        var counts = try counts(observer)
        while counts != expected, Runtime.now() < deadline {
            sched_yield()
            counts = try self.counts(observer)
        }
        return counts
    }
}
