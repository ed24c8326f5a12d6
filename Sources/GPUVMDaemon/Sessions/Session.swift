import CWireProtocol
import Device
import Fencing
import Logging
import Synchronization
import SystemPackage
import WireProtocol

// @unchecked: `client` is written by the session's thread alone, before anybody else sees the
// session's requests; `sentChunks` and `refusals` are that thread's; `waits` and `isCutOff` are guarded.
/// One connection: receives requests, has the device carry them out, sends the replies.
///
/// A session has a thread of its own, so that a client that floods or stalls it holds up nobody
/// else. A synchronous bind and a wait for sync objects are answered from the fence's callback; the
/// thread does not wait for them.
///
/// Threading: the thread runs ``run()``; ``send(_:)`` and ``cutOff(_:)`` may be called from any.
final class Session: @unchecked Sendable {
    let id: UInt64
    let socket: UnixSocket
    let credentials: UnixSocket.Credentials
    let server: SessionServer
    /// Whether the client may use high priority and see other clients.
    let isPrivileged: Bool
    let policy: SessionPolicy
    /// How long its user has to wait for the first answer, ns.
    private let delay: UInt64
    /// How fast requests are received.
    let pacer: RequestPacer
    private(set) var logger: Logger
    private(set) var client: Client?
    /// Chunks of the fence page that the client has; the session's thread's alone.
    private var sentChunks = 1

    /// Requests that were refused; the session's thread's alone.
    private var refusals: UInt64 = 0
    private let hasNotedSlowing = Atomic<Bool>(false)

    private struct OutstandingWait {
        let targets: Int
        /// Nil between the reservation of a key and the start of its wait.
        var wait: SyncobjWait?
    }

    private struct Outstanding {
        var waits: [UInt64: OutstandingWait] = [:]
        var targets = 0
        var lastWait: UInt64 = 0
        var isEnding = false
        var cutOffReason: WireError?
    }

    private let outstanding = Guarded(.sessionWaits, Outstanding())
    private let sending = Lock(.leaf)

    init(
        id: UInt64, socket: UnixSocket, credentials: UnixSocket.Credentials,
        server: SessionServer, isPrivileged: Bool, policy: SessionPolicy,
        delay: UInt64 = 0
    ) {
        self.delay = delay
        self.id = id
        self.socket = socket
        self.credentials = credentials
        self.server = server
        self.isPrivileged = isPrivileged
        self.policy = policy
        pacer = RequestPacer(
            requestsPerSecond: policy.requestsPerSecond, burst: policy.requestBurst,
            share: policy.share)
        logger = server.logger
        logger[metadataKey: "client"] = "pid \(credentials.pid)"
    }

    /// Serves requests until the peer leaves, breaks the framing, or is cut off; then lets go of all
    /// that the client had.
    func run() {
        let buffer = MessageBuffer()
        serve(buffer)
        end()
        server.trimHeap()
    }

    private func serve(_ buffer: borrowing MessageBuffer) {
        if delay > 0 { socket.rest(for: delay) }
        // Who says nothing would hold a connection of max_clients for ever.
        guard socket.becomesReadable(within: policy.helloTimeout) else {
            logger.notice("connection closed: it made no request in time")
            return
        }
        while true {
            do throws(WireError) {
                guard let received = try socket.receive(into: buffer) else { return }
                if client == nil, IncomingDRMMessage.isOpen(received) {
                    return try serveOpenFile(received, buffer)
                }
                let refusals = refusals
                let bytes = received.announcedBytes
                try handle(received)
                pace(
                    weight: RequestPacer.weight(
                        bytes: bytes, wasRefused: refusals != self.refusals))
            } catch {
                logger.debug("connection lost", metadata: ["error": "\(error)"])
                return
            }
        }
    }

    /// Receives the next request later if the client asks too fast: its socket fills meanwhile, and it
    /// waits as in a system call of a busy kernel. No request fails for it, since a client could do
    /// nothing about that but ask again.
    private func pace(weight: Int) {
        let delay = pacer.take(weight, at: Runtime.now())
        guard delay > 0 else { return }
        noteSlowing()
        socket.rest(for: delay)
    }

    /// Says once that the client is slowed down.
    func noteSlowing() {
        guard !hasNotedSlowing.exchange(true, ordering: .relaxed) else { return }
        logger.warning(
            "client slowed down: it asks for more than its share",
            metadata: [
                "quotas.requests_per_second": "\(policy.requestsPerSecond)",
                "limits.requests_per_second": "\(policy.allRequestsPerSecond)",
            ])
    }

    private func handle(_ received: consuming ReceivedMessage) throws(WireError) {
        server.counters.requests.add(1, ordering: .relaxed)
        var message: IncomingMessage
        do throws(DecodeFailure) {
            message = try IncomingMessage(decoding: received, as: .request)
        } catch {
            noteFailure("opcode \(error.opcode)", error.error)
            send(ReplyBuilder.failure(error))
            return
        }
        let opcode = message.opcode
        let serial = message.serial
        do throws(WireError) {
            if let reply = try dispatch(&message) { send(reply) }
        } catch {
            noteFailure("\(opcode)", error)
            send(ReplyBuilder.failure(opcode: opcode.rawValue, serial: serial, error))
        }
    }

    func noteFailure(_ request: String, _ error: WireError) {
        refusals &+= 1
        server.counters.failedRequests.add(1, ordering: .relaxed)
        client?.noteFailure()
        logger.notice(
            "request refused",
            metadata: [
                "request": "\(request)", "errno": "\(error.code.symbol)", "why": "\(error.text)",
            ])
    }

    // MARK: sending

    /// Sends a reply without ever blocking: a client that does not read is cut off.
    func send(_ message: borrowing OutgoingMessage) {
        let failure: WireError? = sending.withLock {
            do throws(WireError) {
                if try message.send(on: socket, blocking: false) { return nil }
                return WireError(
                    .resourceTemporarilyUnavailable,
                    "the client does not read its replies and is cut off")
            } catch {
                return error
            }
        }
        if let failure { cutOff(failure) }
    }

    /// Ends the connection; the session's thread then cleans up.
    func cutOff(_ reason: WireError) {
        // Possibly on the signalling path: the session's thread does the logging.
        outstanding.withLock { $0.cutOffReason = $0.cutOffReason ?? reason }
        socket.shutdown()
    }

    // MARK: the client

    func adopt(_ client: Client) {
        self.client = client
        logger[metadataKey: "client"] = "\(client.id)"
        logger[metadataKey: "name"] = "\(client.name)"
        logger[metadataKey: "pid"] = "\(credentials.pid)"
    }

    /// The client; every request but HELLO needs one.
    func requireClient() throws(WireError) -> Client {
        guard let client else {
            throw WireError(.protocolError, "the first request of a connection is HELLO")
        }
        return client
    }

    private func end() {
        let (waits, reason) = outstanding.withLock { state in
            state.isEnding = true
            defer { state.waits = [:] }
            return (state.waits.values.compactMap(\.wait), state.cutOffReason)
        }
        if let reason { logger.warning("connection cut", metadata: ["why": "\(reason)"]) }
        for wait in waits { wait.cancel() }
        if let client {
            let start = Runtime.now()
            client.close()
            logger.info(
                "client gone", metadata: ["released_in_us": "\((Runtime.now() - start) / 1000)"])
        }
        socket.shutdown()
        server.remove(self)
    }

    // MARK: outstanding waits

    /// A key for a wait of `targets` sync objects that is about to start.
    ///
    /// - Throws: EAGAIN when the client has too many waits, or sync objects in them, in the daemon.
    func reserveWait(targets: Int) throws(WireError) -> UInt64 {
        try outstanding.withLock { state throws(WireError) in
            guard state.waits.count < policy.waits else {
                throw WireError(
                    .resourceTemporarilyUnavailable,
                    "\(policy.waits) waits of this connection are in the daemon already")
            }
            guard targets <= Self.maxWaitTargets - state.targets else {
                throw WireError(
                    .resourceTemporarilyUnavailable,
                    """
                    this connection waits for \(state.targets) sync objects already: with the \
                    \(targets) of this wait they would be more than \(Self.maxWaitTargets)
                    """)
            }
            state.lastWait += 1
            state.waits[state.lastWait] = OutstandingWait(targets: targets)
            state.targets += targets
            return state.lastWait
        }
    }

    /// Keeps a wait until it completes; it is cancelled if the session ends first.
    ///
    /// - Returns: False if the session is ending.
    func keep(_ wait: SyncobjWait, as key: UInt64) -> Bool {
        outstanding.withLock { state in
            // Absent: it has completed already.
            state.waits[key]?.wait = wait
            return !state.isEnding
        }
    }

    /// Forgets a wait that has completed.
    func finishWait(_ key: UInt64) {
        // The wait is let go of after the lock.
        let finished = outstanding.withLock { state -> OutstandingWait? in
            let finished = state.waits.removeValue(forKey: key)
            state.targets -= finished?.targets ?? 0
            return finished
        }
        withExtendedLifetime(finished) {}
    }

    /// The most sync objects of a connection's waits; one that is waited for twice counts twice.
    static var maxWaitTargets: Int { 262_144 }

    // MARK: fence-page chunks

    /// Whether the client has yet to be sent a chunk of its fence page; the first came with HELLO.
    func lacksChunk(_ chunk: Int) -> Bool { chunk >= sentChunks }

    func noteSent(chunk: Int) { sentChunks = chunk + 1 }
}

extension LockClass {
    /// A session's outstanding waits: completions take it on the signalling path.
    static let sessionWaits = LockClass("session-waits", rank: 98, signallingSafe: true)
}
