import Device
import Fencing
import Logging
import WireProtocol

/// An open file of a DRM node: its ioctls come on streams, one for each process or thread in it.
///
/// The session's thread receives the streams; each has a thread of its own, so that one that is busy
/// holds up nobody else. The end of the connection is the last close of the file: all streams end
/// then, whoever holds them, and everything that the file had is released.
///
/// Threading: every method may be called from any thread; ``serve(_:_:)`` once.
final class DRMOpenFile: Sendable {
    /// The most streams of a file, a thread each.
    static let maximumStreams = 1024

    let file: NouveauFile
    let server: SessionServer
    let ledger: CallLedger
    let logger: Logger
    /// Kept for its pace; it serves this file, and lives as long.
    private let session: Session

    private struct State {
        var streams: [UInt64: DRMStream] = [:]
        var lastStream: UInt64 = 0
        var isEnding = false
    }

    private let state = Guarded(.daemon, State())
    private let changed = Condition()

    /// - Parameter session: The connection's, by whose pace the streams go.
    init(
        _ file: NouveauFile, server: SessionServer, ledger: CallLedger, logger: Logger,
        session: Session
    ) {
        self.session = session
        self.file = file
        self.server = server
        self.ledger = ledger
        self.logger = logger
    }

    /// The number of streams.
    var streamCount: Int { state.withLock { $0.streams.count } }

    /// Carries an ioctl out: one of the node's, or one on a descriptor that such a file gave out.
    func ioctl(
        _ call: IoctlCall, completion: @escaping @Sendable (IoctlReply) -> Void
    ) -> PendingIoctl? {
        guard call.request.isDRM else {
            return DescriptorCalls(file.shared, client: file.client)
                .ioctl(call, completion: completion)
        }
        return file.ioctl(call, completion: completion)
    }

    /// How long the next call has to wait, ns, since all streams together ask too fast; 0 mostly.
    func delayOfNextCall(bytes: Int, wasRefused: Bool) -> UInt64 {
        let delay = session.pacer.take(
            RequestPacer.weight(bytes: bytes, wasRefused: wasRefused), at: Runtime.now())
        if delay > 0 { session.noteSlowing() }
        return delay
    }

    /// Takes streams until the connection ends, then releases everything.
    func serve(_ session: Session, _ buffer: borrowing MessageBuffer) {
        server.observers.trace?.note(.open(file.client, Runtime.now()))
        do throws(WireError) {
            while let received = try session.socket.receive(into: buffer) {
                try accept(received)
            }
        } catch {
            logger.debug("open file lost", metadata: ["error": "\(error)"])
        }
        end()
        server.files.close(file.client.id)
        server.observers.trace?.note(.close(file.client.id, Runtime.now()))
    }

    private func accept(_ received: consuming ReceivedMessage) throws(WireError) {
        var message: IncomingDRMMessage
        do throws(DecodeFailure) {
            message = try IncomingDRMMessage(decoding: received)
        } catch {
            throw error.error
        }
        guard message.opcode == .stream, let end = message.fds.take(0) else {
            throw .invalid("\(message.opcode) on an open file: it takes streams only")
        }
        let socket = UnixSocket(adopting: end)
        guard socket.isUnixSeqpacket else {
            throw .invalid("a stream is an end of a SOCK_SEQPACKET pair")
        }
        start(socket)
    }

    private func start(_ socket: UnixSocket) {
        let stream: DRMStream? = state.withLock { state in
            guard !state.isEnding, state.streams.count < Self.maximumStreams else { return nil }
            state.lastStream += 1
            let stream = DRMStream(id: state.lastStream, socket: socket, file: self)
            state.streams[stream.id] = stream
            return stream
        }
        guard let stream else {
            logger.warning(
                "stream refused", metadata: ["maximum": "\(Self.maximumStreams)"])
            return socket.shutdown()
        }
        guard let thread = RuntimeThread.start(name: "gpuvm-stream", stream.run) else {
            logger.error("stream refused: the system has no thread left")
            socket.shutdown()
            return remove(stream)
        }
        thread.detach()
    }

    func remove(_ stream: DRMStream) {
        let removed = state.withLock { $0.streams.removeValue(forKey: stream.id) }
        changed.broadcast()
        withExtendedLifetime(removed) {}
    }

    private func end() {
        let streams = state.withLock { state in
            state.isEnding = true
            return Array(state.streams.values)
        }
        for stream in streams { stream.cutOff() }
        server.observers.pictures?.note(file.client)
        file.close()
        _ = state.wait(on: changed) { $0.streams.isEmpty ? true : nil }
    }
}
