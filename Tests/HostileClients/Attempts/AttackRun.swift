import Fencing
import GPUVMClient
import Glibc
import TestSupport

/// Measures a good client beside bad ones, then tries what else there is, and says what was lost.
struct AttackRun {
    /// What the median may be beside bad clients, as a multiple of alone.
    private static let allowedFactor = 2.0

    private let options: Options
    private var failures: [String] = []

    init(_ options: Options) { self.options = options }

    /// Whether all went well.
    mutating func run() throws -> Bool {
        let begun = Runtime.now()
        print("hostile clients: seed \(options.seed), \(options.bad) bad clients")
        let daemon = try DaemonUnderTest(options.daemon)
        let good = try GoodClient(daemon.socket)
        let factor = try measure(daemon, good)
        print("")
        printRow("attack", "attempts", "bytes right", "answers")
        for attempt in MemoryAttempts.all + ResourceAttempts.all {
            try tryOut(attempt, daemon, good)
        }
        for limited in LimitedDaemon.all { try tryOut(limited) }
        let seconds = Double(Runtime.now() - begun) / 1e9
        print("")
        for failure in failures { print("  wrong: \(failure)") }
        print(
            """
            test-hostile: \(failures.isEmpty ? "PASS" : "FAIL") (beside \(options.bad) bad \
            clients the median of a bind and its wait is \(Text.tenths(factor)) times that of \
            alone, at most \(Text.tenths(Self.allowedFactor)); nothing of the good client \
            \(failures.isEmpty ? "was" : "may have been") lost; \(Text.tenths(seconds)) s)
            """)
        return failures.isEmpty
    }

    // MARK: latency

    private mutating func measure(
        _ daemon: DaemonUnderTest, _ good: GoodClient
    ) throws -> Double {
        print(
            """
            latency of a good client, which binds or copies every 2 ms:
            """)
        _ = try LatencyTrial(good, seconds: 1)
        let before = try good.counts()
        let alone = try LatencyTrial(good, seconds: 4)
        print("  alone:               bind  \(alone.binds.text)")
        print("                       copy  \(alone.copies.text)")
        // Their own time on the CPU is not the daemon's doing: at nice 19 the machine's two or more
        // processors are the daemon's and the good client's first.
        let beside = try besides(daemon, good, Misbehaviour.allCases, options.bad, nice: 19)
        print("  beside \(options.bad) bad:      bind  \(beside.binds.text)")
        print("                       copy  \(beside.copies.text)")
        print("  (all kinds of bad clients, as processes of another user at nice 19: their own CPU")
        print("  time is not the daemon's doing)")
        let factor = Double(beside.binds.median) / Double(max(1, alone.binds.median))
        if factor > Self.allowedFactor {
            failures.append("the median bind takes \(Text.tenths(factor)) times as long")
        }
        print("  by kind, 10 of each:")
        for kind in Misbehaviour.allCases {
            let trial = try besides(daemon, good, [kind], 10, nice: 19, seconds: 2)
            let used = trial.daemonCPU
            print(
                """
                    \(Text.fill(kind.rawValue, 16)) bind  \(trial.binds.text)  \
                daemon CPU \(Text.pad("\(used)", 3)) %
                """)
        }
        let equals = try besides(daemon, good, Misbehaviour.allCases, options.bad, nice: 0)
        print("  beside \(options.bad) at nice 0, not judged: \(equals.binds.text)")
        let after = try good.settle(to: before)
        if after != before { failures.append("after the bad clients: \(after), not \(before)") }
        return factor
    }

    private func besides(
        _ daemon: DaemonUnderTest, _ good: GoodClient, _ kinds: [Misbehaviour], _ count: Int,
        nice: Int, seconds: Int = 8
    ) throws -> (binds: Latencies, copies: Latencies, daemonCPU: Int) {
        let bad = try (0..<count).map { index in
            try Child([
                Child.own, "misbehave", kinds[index % kinds.count].rawValue, daemon.socket,
                "\(options.seed &+ UInt64(index))", "\(nice)",
            ])
        }
        // Until they are at it: processes take their time to start at nice 19.
        _ = try LatencyTrial(good, seconds: kinds.count > 1 ? 3 : 1)
        let ticks = daemon.figures.ticks
        let begun = Runtime.now()
        let trial = try LatencyTrial(good, seconds: seconds)
        let used = Double(daemon.figures.ticks - ticks) * 1e9 / Double(Runtime.now() - begun)
        let dead = bad.count { !$0.isAlive }
        guard dead == 0 else { throw Failure("\(dead) bad clients gave up") }
        for child in bad { child.kill() }
        return (trial.binds, trial.copies, Int(used.rounded()))
    }

    // MARK: attacks

    private mutating func tryOut(
        _ attempt: Attempt, _ daemon: DaemonUnderTest, _ good: GoodClient
    ) throws {
        let before = try good.counts()
        let tally = Tally()
        do {
            try attempt.run(daemon, tally)
        } catch {
            failures.append("\(attempt.name): \(error)")
        }
        let isRight = check(attempt.name, daemon) { _ = try good.copyAndCompare() }
        printRow(attempt.name, "\(tally.attempts)", isRight ? "yes" : "NO", tally.text)
        guard daemon.isAlive else { throw Failure("the daemon died of: \(attempt.name)") }
        let after = try good.settle(to: before)
        if after != before {
            failures.append("\(attempt.name) left: \(after), not \(before)")
        }
    }

    private mutating func tryOut(_ limited: LimitedDaemon) throws {
        guard let disk = try LogPlace.make(limited.disk) else {
            printRow(limited.name, "-", "-", "left out: mounting a small tmpfs takes root")
            return
        }
        let daemon = try DaemonUnderTest(
            options.daemon, limited.settings, limit: limited.limit, log: disk.log)
        let good = try GoodClient(daemon.socket)
        let tally = Tally()
        do {
            try limited.attack(daemon, tally)
        } catch {
            failures.append("\(limited.name): \(error)")
        }
        let isRight = check(limited.name, daemon) {
            _ = try good.copyAndCompare()
            // Who comes later finds room again.
            let deadline = GoodClient.soon()
            while true {
                do {
                    let late = try GoodClient(daemon.socket, name: "late")
                    _ = try late.bindAndWait()
                    _ = try late.copyAndCompare()
                    return
                } catch {
                    guard Runtime.now() < deadline, daemon.isAlive else { throw error }
                    usleep(20_000)
                }
            }
        }
        printRow(limited.name, "\(tally.attempts)", isRight ? "yes" : "NO", tally.text)
    }

    private mutating func check(
        _ name: String, _ daemon: DaemonUnderTest, _ body: () throws -> Void
    ) -> Bool {
        do {
            try body()
            return true
        } catch {
            failures.append("\(name): \(error), daemon \(daemon.isAlive ? "alive" : "DEAD")")
            return false
        }
    }

    private func printRow(_ name: String, _ attempts: String, _ right: String, _ answers: String) {
        print(
            "\(Text.fill(name, 48)) \(Text.pad(attempts, 8))  \(Text.pad(right, 11))  \(answers)")
    }
}
