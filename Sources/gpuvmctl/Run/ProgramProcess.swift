import Glibc
import SystemPackage
import WireProtocol

/// The program of a run: everything that it inherits is as this process got it.
///
/// Threading: one thread.
struct ProgramProcess {
    /// What this process was started with and changes for itself.
    struct Inheritance {
        /// Signals that were blocked.
        var mask: sigset_t
        /// The limits of descriptors, which a daemon raises.
        var descriptors: rlimit

        /// As it is now, but for the signals.
        init(mask: sigset_t) {
            self.mask = mask
            descriptors = rlimit()
            getrlimit(Int32(RLIMIT_NOFILE.rawValue), &descriptors)
        }
    }

    /// The process's id; valid until ``poll()`` has told of its end.
    let pid: pid_t

    /// Starts a program, looked for in PATH.
    ///
    /// - Parameter environment: All of it.
    /// - Throws: What execve(2) says.
    init(
        _ words: [String], environment: [String], _ inheritance: Inheritance
    ) throws(WireError) {
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var mask = inheritance.mask
        posix_spawnattr_setsigmask(&attributes, &mask)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var argv = words.map { strdup($0) } + [nil]
        var envp = environment.map { strdup($0) } + [nil]
        defer { for text in argv + envp { free(text) } }

        let resource = Int32(RLIMIT_NOFILE.rawValue)
        var raised = rlimit()
        getrlimit(resource, &raised)
        var original = inheritance.descriptors
        setrlimit(resource, &original)
        var child: pid_t = 0
        let error = posix_spawnp(&child, words[0], nil, &attributes, &argv, &envp)
        setrlimit(resource, &raised)
        guard error == 0 else {
            throw WireError(Errno(rawValue: error), "\(words[0]) cannot be started")
        }
        pid = child
    }

    /// How the program ended, if it has.
    func poll() -> ChildProcess.Exit? {
        var status: Int32 = 0
        let found = waitpid(pid, &status, WNOHANG)
        if found == pid { return ChildProcess.decode(status) }
        return found < 0 && errno == ECHILD ? .status(-1) : nil
    }
}
