import Fencing
import GPUVMClient
import Glibc
import TestSupport

/// Clients that come, work, are killed and go, for a long time; what the daemon is made of must end
/// as it began.
struct SoakRun {
    /// Clients at a time.
    private static let parallel = 8
    /// What the daemon's own memory may have grown by at the end, KiB: freed memory of the allocator's
    /// arenas, not the clients' number times anything.
    private static let allowedGrowth = 8 << 10

    private let options: Options
    private var random: SplitMix64

    init(_ options: Options) {
        self.options = options
        random = SplitMix64(seed: options.seed)
    }

    /// Whether it ended where it began.
    mutating func run() throws -> Bool {
        print(
            """
            soak: \(options.seconds) s, seed \(options.seed), \(Self.parallel) clients at a time\
            \(options.drm == nil ? "" : ", every fourth one a DRM program")
            """)
        let daemon = try DaemonUnderTest(options.daemon)
        let good = try GoodClient(daemon.socket)
        let counts = try good.counts()
        // Threads' stacks, arenas and caches reach their size in the first clients.
        let warmUp = UInt64(min(30, max(5, options.seconds / 6))) * 1_000_000_000
        let tally = Tally()
        try work(until: Runtime.deadline(after: warmUp), daemon, good, tally) { _ in }
        let begin = try rest(daemon, good, counts)
        Self.printCurve("begin", begin, tally)
        let start = Runtime.now()
        let end = start + UInt64(options.seconds) * 1_000_000_000
        let step = UInt64(max(5, options.seconds / 20)) * 1_000_000_000
        var next = start + step
        try work(until: end, daemon, good, tally) { tally in
            guard Runtime.now() >= next else { return }
            next += step
            Self.printCurve("\((Runtime.now() - start) / 1_000_000_000) s", daemon.figures, tally)
        }
        let last = try rest(daemon, good, counts)
        Self.printCurve("end", last, tally)
        return try judge(begin, last, daemon, good, counts, tally)
    }

    private func judge(
        _ begin: ProcessFigures, _ last: ProcessFigures, _ daemon: DaemonUnderTest,
        _ good: GoodClient, _ counts: String, _ tally: Tally
    ) throws -> Bool {
        var failures: [String] = []
        let growth = last.anonymous - begin.anonymous
        if growth > Self.allowedGrowth {
            failures.append("its memory grew by \(growth) KiB, more than \(Self.allowedGrowth)")
        }
        if last.descriptors != begin.descriptors {
            failures.append("\(last.descriptors) descriptors, not \(begin.descriptors)")
        }
        if last.threads != begin.threads {
            failures.append("\(last.threads) threads, not \(begin.threads)")
        }
        let left = try good.counts()
        if left != counts { failures.append("it holds \(left), not \(counts)") }
        if tally.count("failed") != 0 { failures.append("\(tally.count("failed")) clients failed") }
        for failure in failures { print("  wrong: \(failure)") }
        print(
            """
            soak: \(failures.isEmpty ? "PASS" : "FAIL") (\(tally.attempts) clients: \
            \(tally.text); own memory \(begin.anonymous) -> \(last.anonymous) KiB, \
            descriptors \(begin.descriptors) -> \(last.descriptors), \
            threads \(begin.threads) -> \(last.threads))
            """)
        return failures.isEmpty
    }

    /// A client under way and when it is killed.
    private struct Guest {
        let child: Child
        let deadline: UInt64
        let isWorker: Bool
    }

    private mutating func work(
        until end: UInt64, _ daemon: DaemonUnderTest, _ good: GoodClient, _ tally: Tally,
        _ tick: (Tally) -> Void
    ) throws {
        var guests: [Guest] = []
        while Runtime.now() < end {
            while guests.count < Self.parallel { guests.append(try invite(daemon)) }
            for (index, guest) in guests.enumerated().reversed() {
                if !guest.child.isAlive {
                    let status = guest.child.wait()
                    tally.note(status == 0 ? "went" : "failed")
                    if status != 0 { print("  a client ended with status \(status)") }
                } else if Runtime.now() >= guest.deadline {
                    guest.child.kill()
                    tally.note("killed")
                } else {
                    continue
                }
                guests.remove(at: index)
            }
            _ = try good.bindAndWait()
            _ = try good.copyAndCompare()
            guard daemon.isAlive else { throw Failure("the daemon died") }
            tick(tally)
            usleep(5000)
        }
        for guest in guests {
            guest.child.kill()
            tally.note("killed")
        }
    }

    /// A new client: most are killed at a random moment, some end on their own.
    private mutating func invite(_ daemon: DaemonUnderTest) throws -> Guest {
        let seed = random.next()
        let moment = Runtime.now() + random.next() % 400_000_000
        if let drm = options.drm, random.next() % 4 == 0 {
            let child = try Child(
                [drm.program, "binds"],
                environment: [
                    "LD_PRELOAD": drm.shim, "GPUVM_SOCKET": daemon.socket,
                    "GPUVM_SHIM_TREE": "\(daemon.socket).tree",
                ], output: "/dev/null")
            return Guest(
                child: child, deadline: random.next() & 1 == 0 ? moment : .max, isWorker: false)
        }
        guard random.next() % 4 == 0 else {
            return Guest(
                child: try Child([Child.own, "work", daemon.socket, "\(seed)"]),
                deadline: moment, isWorker: true)
        }
        return Guest(
            child: try Child([Child.own, "work", daemon.socket, "\(seed)", "20"]),
            deadline: .max, isWorker: true)
    }

    /// The daemon when all clients but the good one have gone; the last one later than the others, since
    /// the daemon gives memory back when a client goes, and not each time.
    private func rest(
        _ daemon: DaemonUnderTest, _ good: GoodClient, _ counts: String
    ) throws -> ProcessFigures {
        _ = try good.settle(to: counts)
        usleep(5_500_000)
        try GoodClient(daemon.socket, name: "last").connection.close()
        let settled = try good.settle(to: counts)
        guard settled == counts else { throw Failure("it still holds \(settled), not \(counts)") }
        // Session threads end after their client is gone.
        var figures = daemon.figures
        let deadline = Runtime.deadline(after: 5_000_000_000)
        var quiet = 0
        while quiet < 10, Runtime.now() < deadline {
            usleep(50_000)
            let next = daemon.figures
            quiet = next.threads == figures.threads ? quiet + 1 : 0
            figures = next
        }
        return figures
    }

    private static func printCurve(_ time: String, _ figures: ProcessFigures, _ tally: Tally) {
        print(
            """
              \(Text.pad(time, 6)): own memory \(Text.pad("\(figures.anonymous)", 7)) KiB, \
            resident \(Text.pad("\(figures.resident)", 7)) KiB, descriptors \
            \(Text.pad("\(figures.descriptors)", 4)), threads \(Text.pad("\(figures.threads)", 3)), \
            clients so far \(tally.attempts)
            """)
    }
}
