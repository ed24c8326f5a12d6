import Glibc
import Testing
import WireProtocol

/// A process whose standard error and output are collected.
final class ChildProcess {
    let pid: Int32
    private let output: OwnedFD
    private var text: [UInt8] = []
    private var status: Int32?

    /// `gpuvmd`, which the package manager puts beside the test bundle.
    static let daemonPath: String = {
        var buffer = [CChar](repeating: 0, count: 4096)
        let length = readlink("/proc/self/exe", &buffer, buffer.count)
        let bytes = buffer[..<max(0, length)].map { UInt8(bitPattern: $0) }
        let bundle = String(decoding: bytes, as: UTF8.self)
        return bundle.split(separator: "/").dropLast().map { "/\($0)" }.joined() + "/gpuvmd"
    }()

    /// Starts `gpuvmd` with arguments; each of `passing` is (number in the child, ours).
    static func daemon(
        _ arguments: [String], environment: [String: String] = [:],
        passing: [(child: Int32, ours: Int32)] = []
    ) throws -> ChildProcess {
        try ChildProcess(
            [daemonPath] + arguments, environment: environment, passing: passing)
    }

    init(
        _ arguments: [String], environment: [String: String],
        passing: [(child: Int32, ours: Int32)]
    ) throws {
        var ends: [Int32] = [-1, -1]
        try #require(pipe(&ends) == 0)
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        output = OwnedFD(ends[0])
        let writing = OwnedFD(ends[1])
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        // Through numbers that are in nobody's way, since one may be another's target.
        var parked: [OwnedFDBox] = []
        for (child, ours) in [(Int32(1), writing.rawValue), (2, writing.rawValue)] + passing {
            let copy = fcntl(ours, F_DUPFD_CLOEXEC, 100)
            try #require(copy >= 0)
            parked.append(OwnedFDBox(copy))
            posix_spawn_file_actions_adddup2(&actions, copy, child)
        }
        var pid: Int32 = 0
        var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] =
            environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in words + variables { free(pointer) } }
        let result = posix_spawn(&pid, arguments[0], &actions, nil, &words, &variables)
        try #require(result == 0, "cannot start \(arguments[0]): errno \(result)")
        self.pid = pid
        withExtendedLifetime(parked) {}
    }

    deinit {
        if status == nil {
            kill(pid, SIGKILL)
            waitpid(pid, nil, 0)
        }
    }

    /// Sends a signal.
    func signal(_ number: Int32) { kill(pid, number) }

    /// Collects output until it contains `needle`; false if the process ends or 20 s pass before.
    func waitForOutput(_ needle: String) -> Bool {
        while !outputSoFar.contains(needle) {
            guard readMore() else { return false }
        }
        return true
    }

    /// What the process has written, as far as it was collected.
    var outputSoFar: String { String(decoding: text, as: UTF8.self) }

    /// The exit status (128 + signal if killed) and all output; kills it after 20 s.
    func waitForEnd() -> (status: Int32, output: String) {
        while readMore() {}
        if becomesReadable(output.rawValue, milliseconds: 0) == false { kill(pid, SIGKILL) }
        var raw: Int32 = 0
        waitpid(pid, &raw, 0)
        let signal = raw & 0x7F
        let status = signal == 0 ? (raw >> 8) & 0xFF : 128 + signal
        self.status = status
        return (status, outputSoFar)
    }

    /// CPU time used so far, in clock ticks (10 ms).
    func cpuTicks() throws -> Int {
        let fields = try contents(of: "/proc/\(pid)/stat").split(separator: ") ").last?
            .split(separator: " ")
        let values = try #require(fields)
        return (Int(values[11]) ?? 0) + (Int(values[12]) ?? 0)
    }

    private func readMore() -> Bool {
        guard becomesReadable(output.rawValue, milliseconds: 20_000) else { return false }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = read(output.rawValue, &buffer, buffer.count)
        guard count > 0 else { return false }
        text += buffer[..<count]
        return true
    }
}

/// A descriptor in an array.
final class OwnedFDBox {
    let fd: OwnedFD
    init(_ number: Int32) { fd = OwnedFD(number) }
}
