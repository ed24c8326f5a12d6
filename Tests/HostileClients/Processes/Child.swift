import GPUVMClient
import Glibc
import WireProtocol

/// A process that this one started; killed with the object.
final class Child {
    /// The user and group of bad clients, if root may choose.
    static let nobody: UInt32 = 65_534

    let pid: Int32
    private var status: Int32?

    /// This program.
    static var own: String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let length = readlink("/proc/self/exe", &buffer, buffer.count)
        return String(
            decoding: buffer[..<max(0, length)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Starts a program.
    ///
    /// - Parameters:
    ///   - environment: All of it but PATH.
    ///   - passing: Becomes descriptor 9.
    ///   - output: Where its standard output and standard error go; nil: to this process's.
    init(
        _ words: [String], environment: [String: String] = [:], passing: Int32? = nil,
        output: String? = nil
    ) throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        if let output {
            posix_spawn_file_actions_addopen(
                &actions, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0o644)
            posix_spawn_file_actions_adddup2(&actions, 1, 2)
        }
        // Through a number that is in nobody's way: a dup2 of a number to itself keeps CLOEXEC.
        let parked = passing.map { fcntl($0, F_DUPFD_CLOEXEC, 100) }
        defer { if let parked { close(parked) } }
        if let parked { posix_spawn_file_actions_adddup2(&actions, parked, 9) }
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"
        var settings: [UnsafeMutablePointer<CChar>?] =
            environment.merging(["PATH": path]) { old, _ in old }
            .map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in arguments + settings { free(pointer) } }
        var pid: Int32 = 0
        let result = posix_spawn(&pid, words[0], &actions, nil, &arguments, &settings)
        guard result == 0 else {
            throw Failure("cannot start \(words[0]): \(String(cString: strerror(result)))")
        }
        self.pid = pid
    }

    deinit { kill() }

    /// Whether it has not ended yet.
    var isAlive: Bool {
        if status == nil {
            var raw: Int32 = 0
            if waitpid(pid, &raw, WNOHANG) == pid { status = raw }
        }
        return status == nil
    }

    /// Ends it with SIGKILL, and returns when it is gone.
    func kill() {
        guard isAlive else { return }
        Glibc.kill(pid, SIGKILL)
        _ = wait()
    }

    func signal(_ number: Int32) { Glibc.kill(pid, number) }

    /// Returns when it has ended: its exit status, 128 + signal if it was killed.
    func wait() -> Int32 {
        var raw: Int32 = 0
        if status == nil {
            while waitpid(pid, &raw, 0) < 0, errno == EINTR {}
            status = raw
        }
        raw = status ?? 0
        return raw & 0x7F == 0 ? (raw >> 8) & 0xFF : 128 + raw & 0x7F
    }

    /// The same, but nil if it takes longer than `seconds`.
    func wait(seconds: Int) -> Int32? {
        for _ in 0..<seconds * 100 {
            if !isAlive { return wait() }
            usleep(10_000)
        }
        return nil
    }
}
