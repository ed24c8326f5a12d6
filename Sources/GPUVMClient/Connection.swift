import CWireProtocol
import Fencing
import SystemPackage
import WireProtocol

/// A connection to gpuvmd, and all that it does for a client.
///
/// Handles belong to the connection: when it ends, so do its buffer objects, VMs, queues and sync
/// objects in the daemon.
///
/// Threading: any thread, concurrently; requests of several threads are under way together and
/// their replies may come in any order. After fork(2) only the parent may use it.
public final class Connection: Sendable {
    let calls: CallTable
    let fencePages: FencePages
    private let socket: UnixSocket
    /// What the daemon said about itself.
    public let server: ServerInfo

    /// Connects to the daemon.
    ///
    /// - Parameters:
    ///   - path: Of the socket; nil looks at the places of ``SocketPath``.
    ///   - name: What the daemon's reports call this client; at most 32 bytes of UTF-8 are kept.
    /// - Throws: ENOENT or ECONNREFUSED when no daemon listens (the text names the paths tried),
    ///   EPROTO when it speaks another major version.
    public static func connect(
        path: String? = nil, name: String
    ) throws(ClientError) -> Connection {
        var attempts: [String] = []
        var code = Errno.noSuchFileOrDirectory
        for path in SocketPath.candidates(explicit: path) {
            let socket: UnixSocket
            do throws(WireError) {
                socket = try UnixSocket.connect(path: path)
            } catch {
                code = error.code
                attempts.append("\(path) (\(error.code.symbol))")
                continue
            }
            return try Connection(adopting: socket, name: name)
        }
        throw ClientError(
            code, nil,
            """
            no gpuvmd answers at \(attempts.joined(separator: " or ")): start one with `gpuvmd`, \
            or name its socket with --socket or GPUVM_SOCKET
            """)
    }

    /// Greets the daemon at the other end of a connected socket.
    ///
    /// - Throws: As ``connect(path:name:)``.
    public init(adopting socket: UnixSocket, name: String) throws(ClientError) {
        var hello = gpuvm_hello()
        hello.magic = GPUVM_PROTOCOL_MAGIC
        hello.major = UInt16(GPUVM_PROTOCOL_MAJOR)
        hello.minor = UInt16(GPUVM_PROTOCOL_MINOR)
        hello.name = WireName.encode(name)
        let calls = CallTable(socket)
        var reply = try calls.perform(Request(.hello, hello))
        let contents = try reply.contents(gpuvm_hello_reply.self)
        guard contents.major == GPUVM_PROTOCOL_MAJOR else {
            throw ClientError(
                .protocolError, .hello,
                "the daemon speaks version \(contents.major), this client \(GPUVM_PROTOCOL_MAJOR)")
        }
        self.socket = socket
        self.calls = calls
        server = ServerInfo(contents)
        fencePages = FencePages(slotsPerChunk: contents.fence_slots_per_chunk)
        try fencePages.add(reply.fds.take(0), slot: 0)
    }

    deinit {
        socket.shutdown()
    }

    /// Ends the connection; calls under way on other threads fail with ENOTCONN.
    public func close() {
        calls.fail(WireError(.socketNotConnected, "the client closed the connection"))
    }

    /// Whether the daemon still holds its end; costs one poll(2) and never blocks.
    public var isAlive: Bool { calls.failure == nil && !socket.peerHasHungUp() }

    // MARK: Plumbing for the typed wrappers

    func call(_ request: consuming Request) throws(ClientError) {
        _ = try calls.perform(request)
    }

    func call<T: BitwiseCopyable>(
        _ request: consuming Request, reply: T.Type
    ) throws(ClientError) -> T {
        try calls.perform(request).contents(T.self)
    }

    /// For the requests that take a handle and answer nothing.
    func release(_ opcode: Opcode, _ handle: UInt32) throws(ClientError) {
        try call(Request(opcode, gpuvm_handle(handle: handle, reserved: 0)))
    }

    /// For the requests whose reply is a descriptor.
    func callForFD(_ request: consuming Request) throws(ClientError) -> OwnedFD {
        let opcode = request.opcode
        var reply = try calls.perform(request)
        guard let fd = reply.fds.take(0) else {
            throw ClientError(.protocolError, opcode, "the daemon's reply has no descriptor")
        }
        return fd
    }
}
