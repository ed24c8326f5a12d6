import Glibc

/// Waits for a program and passes on the signals that are sent to this process meanwhile.
///
/// The signals are blocked, in every thread that is started later too, and taken with sigwaitinfo(2):
/// no handler runs, and none of them ends this process before it has cleaned up. What a terminal
/// sends (SI_KERNEL) has reached the program already, which is in the same process group; what a
/// process sends with kill(2) has reached this process alone.
///
/// Threading: the process's only thread makes it, before any other; the same one waits.
struct SignalRelay {
    /// What is passed on.
    private static let relayed = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH]

    /// The mask that this process was started with, and the program is.
    let originalMask: sigset_t
    private var waitedFor = sigset_t()

    init() {
        sigemptyset(&waitedFor)
        for number in Self.relayed + [SIGCHLD] { sigaddset(&waitedFor, number) }
        var blocked = waitedFor
        // A reader that goes away is an error of the write, not the end of this process.
        sigaddset(&blocked, SIGPIPE)
        var original = sigset_t()
        sigprocmask(SIG_BLOCK, &blocked, &original)
        originalMask = original
        // Otherwise nobody is told how the program ended.
        signal(SIGCHLD, SIG_DFL)
    }

    /// Returns when the program has ended.
    func wait(for program: ProgramProcess) -> ChildProcess.Exit {
        while true {
            var information = siginfo_t()
            var set = waitedFor
            let number = sigwaitinfo(&set, &information)
            if number == SIGCHLD {
                if let exit = program.poll() { return exit }
            } else if number > 0, information.si_code <= SI_USER {
                kill(program.pid, number)
            }
        }
    }

    /// Ends this process the way the program ended; returns if the system does not let it.
    static func die(of number: Int32) {
        // The program's core is of interest, this process's is not.
        var none = rlimit(rlim_cur: 0, rlim_max: 0)
        setrlimit(Int32(RLIMIT_CORE.rawValue), &none)
        signal(number, SIG_DFL)
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, number)
        kill(getpid(), number)
        sigprocmask(SIG_UNBLOCK, &set, nil)
    }
}
