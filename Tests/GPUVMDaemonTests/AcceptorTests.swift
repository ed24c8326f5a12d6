import Fencing
import Glibc
import Synchronization
import SystemPackage
import TestSupport
import Testing
import WireProtocol

@testable import GPUVMDaemon

@Suite struct AcceptorTests {
    private func listener(_ directory: TemporaryDirectory) throws -> UnixSocket {
        let socket = try UnixSocket.listen(path: "\(directory.path)/s")
        _ = fcntl(socket.rawValue, F_SETFL, O_NONBLOCK)
        return socket
    }

    @Test func connectionsGoToTheHandler() throws {
        let directory = try TemporaryDirectory()
        let handler = RecordingHandler()
        let log = try CapturedLog()
        let acceptor = try Acceptor(
            listener: try listener(directory), handler: handler, maximumClients: 100,
            logger: log.logger())
        try acceptor.start()
        let clients = try (0..<20).map { _ in
            try UnixSocket.connect(path: "\(directory.path)/s")
        }
        #expect(handler.wait { $0.sockets.count == 20 })
        #expect(handler.log.withLock { $0.credentials.allSatisfy { $0.pid == getpid() } })
        acceptor.stop()
        #expect(clients.allSatisfy { !$0.peerHasHungUp() })
        let late = try UnixSocket.connect(path: "\(directory.path)/s")
        #expect(handler.sessionCount == 20)
        late.shutdown()
    }

    @Test func oneTooManyIsClosedAndLogged() throws {
        let directory = try TemporaryDirectory()
        let handler = RecordingHandler()
        let log = try CapturedLog()
        let acceptor = try Acceptor(
            listener: try listener(directory), handler: handler, maximumClients: 2,
            logger: log.logger())
        try acceptor.start()
        let path = "\(directory.path)/s"
        let first = try UnixSocket.connect(path: path)
        let second = try UnixSocket.connect(path: path)
        let third = try UnixSocket.connect(path: path)
        #expect(becomesReadable(third.rawValue))
        #expect(third.peerHasHungUp())
        #expect(!first.peerHasHungUp() && !second.peerHasHungUp())
        #expect(handler.sessionCount == 2)
        #expect(log.lines().filter { $0.contains("limits.max_clients reached") }.count == 1)
        // A place that is free again is given away again.
        handler.log.withLock { log in _ = log.sockets.removeLast() }
        let fourth = try UnixSocket.connect(path: path)
        #expect(handler.wait { $0.credentials.count == 3 })
        #expect(!fourth.peerHasHungUp())
        acceptor.stop()
    }

    /// The process is out of descriptors for the first `failures` calls, but for the spare one.
    @Test func withoutDescriptorsConnectionsAreClosedNotLeft() throws {
        let directory = try TemporaryDirectory()
        let handler = RecordingHandler()
        let log = try CapturedLog()
        let calls = Guarded(.leaf, 0)
        let acceptor = try Acceptor(
            listener: try listener(directory), handler: handler, maximumClients: 100,
            logger: log.logger()
        ) { (listener) throws(WireError) in
            // Every odd call up to the 6th finds no descriptor; the retry with the spare does.
            let call = calls.withLock { calls in
                calls += 1
                return calls
            }
            if call < 6 && call % 2 == 1 { throw WireError(.tooManyOpenFiles, "test") }
            return try listener.accept()
        }
        let path = "\(directory.path)/s"
        let clients = try (0..<4).map { _ in try UnixSocket.connect(path: path) }
        try acceptor.start()
        #expect(handler.wait { $0.sockets.count == 1 })
        for client in clients[..<3] { #expect(becomesReadable(client.rawValue)) }
        #expect(!clients[3].peerHasHungUp())
        acceptor.stop()
        #expect(log.lines().filter { $0.contains("no file descriptor left") }.count == 3)
    }

    @Test func aFailureThatStaysDoesNotSpin() throws {
        let directory = try TemporaryDirectory()
        let handler = RecordingHandler()
        let log = try CapturedLog()
        let box = CallCounter()
        let acceptor = try Acceptor(
            listener: try listener(directory), handler: handler, maximumClients: 100,
            logger: log.logger()
        ) { (listener) throws(WireError) in
            // A connection waits, and memory comes back at the fourth look.
            if box.next() < 4 { throw WireError(.noMemory, "test") }
            return try listener.accept()
        }
        let started = Runtime.now()
        let client = try UnixSocket.connect(path: "\(directory.path)/s")
        try acceptor.start()
        #expect(handler.wait { $0.sockets.count == 1 })
        // Three pauses of a tenth of a second lie between the four looks.
        #expect(Runtime.now() - started >= 290_000_000)
        acceptor.stop()
        #expect(log.lines().filter { $0.contains("connections have to wait") }.count == 1)
        client.shutdown()
    }

    private final class CallCounter: Sendable {
        private let count = Atomic<Int>(0)
        func next() -> Int { count.add(1, ordering: .relaxed).newValue }
    }
}
