import CPlatform
import CWireProtocol
import Device
import Fencing
import GPUVMDaemon
import Glibc
import Logging
import Testing
import WireProtocol

/// A daemon's sessions without a listening socket.
final class SocketFixture: @unchecked Sendable {
    // @unchecked: all are immutable and synchronise themselves.
    let device: Device
    let server: SessionServer
    private let reactor: Reactor

    init() throws {
        var configuration = DeviceConfiguration()
        configuration.vramBytes = 64 << 20
        configuration.systemBytes = 64 << 20
        configuration.pageTableBytes = 16 << 20
        device = try Device(configuration)
        reactor = try Reactor()
        try reactor.start()
        var logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        logger.logLevel = .critical
        server = SessionServer(
            device: device, name: "test", logger: logger, reactor: reactor,
            eventFDs: try EventFDSignaller())
    }

    deinit {
        server.shutdown(graceful: false)
        reactor.stop()
    }

    /// A new connection.
    func connect() throws -> UnixSocket {
        let (here, there) = try UnixSocket.pair()
        server.accept(there, credentials: try there.peerCredentials())
        return here
    }

    /// Waits until no client is left and nothing holds memory.
    func isEmptyInTime() -> Bool {
        let deadline = Runtime.deadline(after: 10_000_000_000)
        while Runtime.now() < deadline {
            let status = device.status()
            if status.clients == 0 && status.systemUsed + status.vramUsed == 0
                && server.sessionCount == 0
            {
                return true
            }
            sched_yield()
        }
        return false
    }
}

/// What the shim does, in Swift and by hand: an open file and its streams.
struct SocketClient {
    struct Reply {
        var status: Int32
        var body: Bytes
        var fds: [Int32]
        var result: Int32 { Int32(bitPattern: body.u32(0)) }
    }

    let file: UnixSocket

    static func message(_ opcode: UInt16, serial: UInt32, _ body: [UInt8]) -> [UInt8] {
        // struct gpuvm_header: length u32@0, opcode u16@4, flags u16@6, serial u32@8, status s32@12.
        Bytes(16).put(0, UInt32(16 + body.count)).put(4, opcode).put(8, serial).bytes + body
    }

    static func send(_ bytes: [UInt8], fds: [Int32] = [], on socket: UnixSocket) throws {
        var list = FDList()
        for fd in fds { list.append(borrowing: fd) }
        let sent = try bytes.withUnsafeBytes {
            try socket.send($0, fds: list, blocking: true)
        }
        #expect(sent)
    }

    /// Blocks until there is a message; nil at the end of the stream.
    static func receive(_ socket: UnixSocket) throws -> Reply? {
        let buffer = MessageBuffer()
        guard var received = try socket.receive(into: buffer) else { return nil }
        var fds: [Int32] = []
        while let fd = received.fds.take(fds.count) { fds.append(fd.release()) }
        let bytes = Bytes(Array(received.bytes))
        return Reply(
            status: Int32(bitPattern: bytes.u32(12)), body: Bytes(Array(bytes.bytes[16...])),
            fds: fds)
    }

    static func openBody(major: UInt16 = 1, node: UInt32 = 2) -> [UInt8] {
        // {magic@0, major u16@4, minor u16@6, node@8, minor_number@12, name[32]@16}
        Bytes(48).put(0, UInt32(0x314d_5647)).put(4, major).put(6, UInt16(1)).put(8, node)
            .put(12, UInt32(128)).put(16, UInt8(ascii: "x")).bytes
    }

    init(_ fixture: SocketFixture) throws {
        file = try fixture.connect()
        try Self.send(Self.message(128, serial: 1, Self.openBody()), on: file)
        let reply = try #require(try Self.receive(file))
        #expect(reply.status == 0)
        #expect(reply.body.text(8, 32) == "nouveau")
        #expect(reply.body.bytes.count == 40)
    }

    /// A new stream: its other end.
    func stream() throws -> SocketStream {
        let (here, there) = try UnixSocket.pair()
        try Self.send(Self.message(129, serial: 2, []), fds: [there.rawValue], on: file)
        return SocketStream(socket: here)
    }
}

/// A stream's end in the client.
struct SocketStream {
    let socket: UnixSocket

    static func padded(_ bytes: [UInt8]) -> [UInt8] {
        bytes + [UInt8](repeating: 0, count: (8 - bytes.count % 8) % 8)
    }

    /// The body of a gpuvm_drm_ioctl.
    static func body(
        _ request: UInt32, _ argument: Bytes, _ blocks: [TestFile.Block]
    ) -> [UInt8] {
        var body = Bytes(16).put(0, request).put(4, UInt32(argument.bytes.count))
            .put(8, UInt32(blocks.count)).bytes
        body += padded(argument.bytes)
        for block in blocks {
            body +=
                Bytes(16).put(4, UInt32(block.offset))
                .put(8, UInt32(block.bytes.bytes.count))
                .put(12, UInt32(block.isOutput ? 3 : 1)).bytes
        }
        for block in blocks { body += padded(block.bytes.bytes) }
        return body
    }

    func send(
        _ request: UInt32, _ argument: Bytes, _ blocks: [TestFile.Block] = [],
        fds: [Int32] = [], serial: UInt32 = 9
    ) throws {
        let message = SocketClient.message(
            130, serial: serial, Self.body(request, argument, blocks))
        try SocketClient.send(message, fds: fds, on: socket)
    }

    func call(
        _ request: UInt32, _ argument: Bytes, _ blocks: [TestFile.Block] = [],
        fds: [Int32] = []
    ) throws -> SocketClient.Reply {
        try send(request, argument, blocks, fds: fds)
        return try #require(try SocketClient.receive(socket))
    }

    /// The argument that a successful call wrote back.
    func argument(
        _ request: UInt32, _ argument: Bytes, _ blocks: [TestFile.Block] = [],
        fds: [Int32] = []
    ) throws -> Bytes {
        let reply = try call(request, argument, blocks, fds: fds)
        try #require(reply.status == 0 && reply.result == 0)
        #expect(reply.body.u32(4) == UInt32(argument.bytes.count))
        return Bytes(Array(reply.body.bytes[16..<16 + argument.bytes.count]))
    }
}
