import Fencing
import Glibc
import WireProtocol

/// Owns the signals of `gpuvmctl run` from its first moment to its last.
///
/// They are blocked, in every thread that is started later too, and one thread takes them with
/// sigwaitinfo(2): no handler runs, and none of them ends this process before it has cleaned up.
///
/// - While the program runs they are its own. What a terminal sends (SI_KERNEL) has reached it already,
///   as it is in the same process group; what a process sends with kill(2) has reached this process
///   alone and is passed on.
/// - Before it is started and after it has ended, those that end a process end the run, whatever the main
///   thread waits for: what the run has made in the file system goes, then the process ends by the signal.
///   Those that the caller had ignored stay ignored, as nohup(1) wants it.
///
/// Threading: the process's only thread makes it, before any other, and calls all but what says otherwise.
final class RunSignals: Sendable {
    private static let ending = [SIGINT, SIGTERM, SIGHUP, SIGQUIT]
    private static let relayed = ending + [SIGUSR1, SIGUSR2, SIGWINCH]

    /// The mask that this process was started with, and the program is.
    let originalMask: sigset_t
    /// Those that the caller had ignored.
    private let ignored: Set<Int32>
    private let taken: sigset_t

    private struct State {
        /// While it runs.
        var program: ProgramProcess?
        var exit: ChildProcess.Exit?
        /// What is to go when a signal ends the run.
        var directory: String?
        /// Whether that is being made.
        var isMaking = false
    }

    private let state = Guarded(.leaf, State())
    private let changed = Condition()

    /// How long the end waits for what is being made, ns.
    private static let patience: UInt64 = 2_000_000_000

    /// Blocks the signals; ``start()`` begins to take them.
    init() {
        var taken = sigset_t()
        sigemptyset(&taken)
        for number in Self.relayed + [SIGCHLD] { sigaddset(&taken, number) }
        self.taken = taken
        var blocked = taken
        // A reader that goes away is an error of the write, not the end of this process.
        sigaddset(&blocked, SIGPIPE)
        var original = sigset_t()
        sigprocmask(SIG_BLOCK, &blocked, &original)
        originalMask = original
        // Otherwise nobody is told how the program ended.
        signal(SIGCHLD, SIG_DFL)
        ignored = Set(
            Self.ending.filter { number in
                var action = sigaction()
                return sigaction(number, nil, &action) == 0 && Self.isIgnored(action)
            })
    }

    private static func isIgnored(_ action: sigaction) -> Bool {
        let handler = unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self)
        return handler == unsafeBitCast(SIG_IGN, to: Int.self)
    }

    /// Starts the thread; it ends with the process.
    ///
    /// - Throws: EAGAIN.
    func start() throws(WireError) {
        guard let thread = RuntimeThread.start(name: "gpuvm-signals", { [self] in run() }) else {
            throw WireError(.resourceTemporarilyUnavailable, "no thread for the signals")
        }
        thread.detach()
    }

    // MARK: what the main thread does

    /// Runs `body`, which makes files: a signal that ends the run waits for it, two seconds at most.
    func making<Result>(_ body: () throws -> Result) rethrows -> Result {
        state.withLock { $0.isMaking = true }
        defer {
            state.withLock { $0.isMaking = false }
            changed.broadcast()
        }
        return try body()
    }

    /// The directory that goes with the run, with all that is in it, from now on.
    func owns(_ directory: String) { state.withLock { $0.directory = directory } }

    /// Starts the program with `launch` and returns when it has ended.
    func wait(
        for launch: () throws(WireError) -> ProgramProcess
    ) throws(WireError) -> ChildProcess.Exit {
        // No signal is looked at in between.
        try state.withLock { state throws(WireError) in state.program = try launch() }
        // It may have ended already, and its SIGCHLD have been taken.
        state.withLock { Self.poll(&$0) }
        return state.wait(on: changed) { $0.exit } ?? .status(-1)
    }

    /// Ends this process the way the program ended; returns if the system does not let it.
    ///
    /// Threading: any thread.
    static func die(of number: Int32) {
        // The program's core is of interest, this process's is not.
        var none = rlimit(rlim_cur: 0, rlim_max: 0)
        setrlimit(Int32(RLIMIT_CORE.rawValue), &none)
        signal(number, SIG_DFL)
        // To this thread, as another one takes those of the process.
        raise(number)
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, number)
        sigprocmask(SIG_UNBLOCK, &set, nil)
    }

    // MARK: the thread of the signals

    private func run() {
        while true {
            var information = siginfo_t()
            var set = taken
            let number = sigwaitinfo(&set, &information)
            guard number > 0 else { continue }
            if handle(number, isSent: information.si_code <= SI_USER) { end(by: number) }
            changed.broadcast()
        }
    }

    /// - Parameter isSent: Whether a process sent it, to this one alone.
    /// - Returns: Whether it ends the run.
    private func handle(_ number: Int32, isSent: Bool) -> Bool {
        state.withLock { state in
            let wasRunning = state.program != nil
            Self.poll(&state)
            if let program = state.program {
                if number != SIGCHLD, isSent { kill(program.pid, number) }
                return false
            }
            // What a terminal sends reaches this process before the program's end does, which it may
            // be the reason of: SIGCHLD is the last of them to be taken.
            guard !wasRunning || isSent else { return false }
            return Self.ending.contains(number) && !ignored.contains(number)
        }
    }

    private static func poll(_ state: inout State) {
        guard let exit = state.program?.poll() else { return }
        state.program = nil
        state.exit = exit
    }

    private func end(by number: Int32) -> Never {
        let deadline = Runtime.deadline(after: Self.patience)
        _ = state.wait(on: changed, deadline: deadline) { $0.isMaking ? nil : true }
        if let directory = state.withLock({ $0.directory }) { Self.remove(directory) }
        Self.die(of: number)
        _exit(128 + number)
    }

    /// Removes a file, or a directory with everything in it; follows no symbolic link.
    private static func remove(_ path: String) {
        guard unlink(path) != 0, errno == EISDIR, let directory = opendir(path) else { return }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        closedir(directory)
        for name in names { remove("\(path)/\(name)") }
        rmdir(path)
    }
}
