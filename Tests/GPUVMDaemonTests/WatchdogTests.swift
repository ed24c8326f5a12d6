import Fencing
import Glibc
import TestSupport
import Testing
import WireProtocol

@testable import GPUVMDaemon

/// Signs of life come from the loops that serve clients, and end with them.
@Suite struct WatchdogTests {
    /// Makes a thread wait until it is let go.
    private final class Gate: Sendable {
        private let state = Guarded(.daemon, (isReached: false, isOpen: false))
        private let changed = Condition()

        func pass() {
            state.withLock { $0.isReached = true }
            changed.broadcast()
            _ = state.wait(on: changed) { $0.isOpen ? true : nil }
        }
        func waitUntilReached() -> Bool {
            state.wait(on: changed, deadline: Runtime.deadline(after: 10_000_000_000)) {
                $0.isReached ? true : nil
            } ?? false
        }
        func open() {
            state.withLock { $0.isOpen = true }
            changed.broadcast()
        }
    }

    /// A handler whose sessions are asked for from a thread that may be made to wait.
    private final class StuckHandler: ConnectionHandler {
        let gate: Gate
        init(_ gate: Gate) { self.gate = gate }
        var sessionCount: Int {
            gate.pass()
            return 0
        }
        func accept(_ socket: UnixSocket, credentials: UnixSocket.Credentials) {}
        func reconfigure(_ configuration: DaemonConfiguration) {}
        func shutdown(graceful: Bool) {}
    }

    @Test func theManagersWishIsRead() {
        func period(_ time: String?, pid: String? = nil) -> UInt64? {
            var environment: [String: String] = [:]
            environment["WATCHDOG_USEC"] = time
            environment["WATCHDOG_PID"] = pid
            return WatchdogPeriod.nanoseconds(environment: environment, processID: 42)
        }
        #expect(period("3000000") == 1_000_000_000)
        #expect(period("3000000", pid: "42") == 1_000_000_000)
        #expect(period("3000000", pid: "43") == nil)
        #expect(period("1") == 1_000_000)
        for text in [nil, "0", "-1", "x", "99999999999999999999", "18446744073709551615"] {
            #expect(period(text) == nil)
        }
    }

    @Test func theLoopBeats() throws {
        let reactor = try Reactor()
        let beats = Guarded(.leaf, 0)
        let changed = Condition()
        reactor.beat(every: 1_000_000) {
            beats.withLock { $0 += 1 }
            changed.broadcast()
        }
        #expect(beats.withLock { $0 } == 0)
        try reactor.start()
        func waitForBeats(_ count: Int) -> Bool {
            beats.wait(on: changed, deadline: Runtime.deadline(after: 10_000_000_000)) {
                $0 >= count ? true : nil
            } ?? false
        }
        #expect(waitForBeats(5))
        // Nothing else ends with it.
        let (near, far) = try UnixSocket.pair()
        let gate = Gate()
        let token = try reactor.watch(near.rawValue, for: .hangup) { _ in
            gate.pass()
            return .remove
        }
        far.shutdown()
        #expect(gate.waitUntilReached())
        // The loop is stuck in a handler, so no beat can come: the count stays, however long we look.
        let stuck = beats.withLock { $0 }
        let (quiet, peer) = try UnixSocket.pair()
        #expect(!becomesReadable(quiet.rawValue, milliseconds: 100))
        #expect(beats.withLock { $0 } == stuck)
        gate.open()
        #expect(waitForBeats(stuck + 2))
        reactor.unwatch(token)
        reactor.stop()
        peer.shutdown()
    }

    private func daemon(
        _ directory: TemporaryDirectory, _ handler: any ConnectionHandler
    ) throws -> Daemon {
        Daemon(
            configuration: DaemonConfiguration(), socketPath: "\(directory.path)/s",
            logger: try CapturedLog().logger(),
            environment: [
                "NOTIFY_SOCKET": "\(directory.path)/notify", "WATCHDOG_USEC": "30000",
                "WATCHDOG_PID": "\(getpid())",
            ]
        ) { _ in handler }
    }

    @Test func theManagerHearsOfLife() throws {
        let directory = try TemporaryDirectory()
        let manager = try DatagramSocket("\(directory.path)/notify")
        let daemon = try daemon(directory, RecordingHandler())
        try daemon.start()
        var notes: [String] = []
        // The loops go round before the start is over, so the order of the first ones is open.
        while notes.count < 5, let note = manager.next() { notes.append(note) }
        #expect(notes.filter { $0.hasPrefix("READY=1\n") }.count == 1)
        #expect(notes.filter { $0 == "WATCHDOG=1" }.count == 4)
        daemon.stop()
        // None comes from a daemon that has ended.
        while let note = manager.next(milliseconds: 0) { notes.append(note) }
        #expect(notes.last?.hasPrefix("STOPPING=1\nEXTEND_TIMEOUT_USEC=35000000\n") == true)
    }

    @Test func anAcceptorThatIsStuckIsNotAlive() throws {
        let directory = try TemporaryDirectory()
        let manager = try DatagramSocket("\(directory.path)/notify")
        let gate = Gate()
        let daemon = try daemon(directory, StuckHandler(gate))
        try daemon.start()
        #expect(gate.waitUntilReached())
        #expect(manager.next()?.hasPrefix("READY=1\n") == true)
        // Ten times the period.
        #expect(manager.next(milliseconds: 100) == nil)
        gate.open()
        #expect(manager.next() == "WATCHDOG=1")
        daemon.stop()
    }
}
