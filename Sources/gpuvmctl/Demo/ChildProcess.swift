import Glibc
import SystemPackage
import WireProtocol

/// A program started by this one.
///
/// Threading: one thread.
struct ChildProcess {
    /// How a program ended.
    enum Exit: Equatable {
        case status(Int32)
        case signal(Int32)
    }

    /// The process's id; valid until ``wait()``.
    let pid: pid_t

    /// Starts `path`.
    ///
    /// - Parameters:
    ///   - fds: The child gets descriptor `child` as a copy of `parent`; the standard streams are
    ///     inherited, everything else is close-on-exec.
    /// - Throws: ENOENT, EACCES, EAGAIN, ENOMEM.
    init(
        _ path: String, _ arguments: [String], fds: [(child: Int32, parent: Int32)] = []
    ) throws(WireError) {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for (child, parent) in fds {
            // Also with equal numbers: the copy is not close-on-exec.
            posix_spawn_file_actions_adddup2(&actions, parent, child)
        }
        // What this process ignores while it waits, or blocks in a thread, must still end the child.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        for number in [SIGINT, SIGTERM, SIGHUP, SIGPIPE] { sigaddset(&signals, number) }
        posix_spawnattr_setsigdefault(&attributes, &signals)
        var blocked = sigset_t()
        sigemptyset(&blocked)
        posix_spawnattr_setsigmask(&attributes, &blocked)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))

        var argv: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) }
        argv.append(nil)
        defer { for argument in argv { free(argument) } }
        var child: pid_t = 0
        let error = posix_spawn(&child, path, &actions, &attributes, argv, environ)
        guard error == 0 else {
            throw WireError(Errno(rawValue: error), "\(path) cannot be started")
        }
        pid = child
    }

    /// Returns when the program has ended.
    func wait() -> Exit {
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 {
            guard errno == EINTR else { return .status(-1) }
        }
        return Self.decode(status)
    }

    /// How the program ended, if it has.
    func poll() -> Exit? {
        var status: Int32 = 0
        return waitpid(pid, &status, WNOHANG) == pid ? Self.decode(status) : nil
    }

    func terminate() {
        kill(pid, SIGTERM)
    }

    /// WIFEXITED, WEXITSTATUS and WTERMSIG, which are macros.
    static func decode(_ status: Int32) -> Exit {
        status & 0x7f == 0 ? .status((status >> 8) & 0xff) : .signal(status & 0x7f)
    }

    /// The path of the running executable.
    static func ownPath() -> String? {
        let capacity = Int(PATH_MAX)
        var buffer = [UInt8](repeating: 0, count: capacity)
        let count = buffer.withUnsafeMutableBytes { raw -> Int in
            guard let start = raw.baseAddress else { return 0 }
            return readlink("/proc/self/exe", start, capacity)
        }
        return count > 0 ? String(validating: buffer.prefix(count), as: UTF8.self) : nil
    }
}
