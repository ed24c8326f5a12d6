import CPlatform
import CWireProtocol
import Glibc
import WireProtocol

/// A connection whose messages are written by hand, right or wrong.
final class RawConnection {
    let socket: UnixSocket
    private var serial: UInt32 = 0

    /// The daemon has ended the connection.
    struct Ended: Error {}

    init(_ path: String) throws { socket = try UnixSocket.connect(path: path) }

    /// A connection that has said HELLO.
    convenience init(_ path: String, hello name: String) throws {
        self.init(greeting: try RawConnection(path).socket)
        guard try hello(name) == 0 else { throw Ended() }
    }

    private init(greeting socket: UnixSocket) { self.socket = socket }

    /// Greets; the errno.
    func hello(_ name: String) throws -> Int32 {
        var hello = gpuvm_hello()
        hello.magic = GPUVM_PROTOCOL_MAGIC
        hello.major = UInt16(GPUVM_PROTOCOL_MAJOR)
        hello.name = WireName.encode(name)
        return try call(.hello, hello).status
    }

    /// The bytes of a message.
    func message<T: BitwiseCopyable, Element: BitwiseCopyable>(
        _ opcode: Opcode, _ contents: T, _ array: [Element], flags: UInt16 = 0
    ) -> [UInt8] {
        serial &+= 1
        var writer = MessageWriter()
        let length =
            16 + MemoryLayout<T>.size + MemoryLayout<Element>.stride * array.count
        writer.append(
            gpuvm_header(
                length: UInt32(length), opcode: opcode.rawValue, flags: flags, serial: serial,
                status: 0))
        writer.append(contents)
        writer.append(contentsOf: array)
        return writer.bytes
    }

    /// Sends bytes as they are; false if they found no room, with `blocking` false.
    @discardableResult
    func send(_ bytes: [UInt8], fds: [Int32] = [], blocking: Bool = true) throws -> Bool {
        var list = FDList()
        for fd in fds { list.append(borrowing: fd) }
        let result: Result<Bool, WireError> = bytes.withUnsafeBytes { raw in
            do throws(WireError) {
                return .success(try socket.send(raw, fds: list, blocking: blocking))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// The next reply.
    func receive() throws -> (status: Int32, handle: UInt32) {
        let buffer = MessageBuffer()
        guard let received = try socket.receive(into: buffer), received.bytes.count >= 16 else {
            throw Ended()
        }
        let header = received.bytes.loadUnaligned(as: gpuvm_header.self)
        let first =
            received.bytes.count >= 20
            ? received.bytes.loadUnaligned(fromByteOffset: 16, as: UInt32.self) : 0
        return (header.status, first)
    }

    /// Reads and forgets what has come.
    func discardReplies() throws {
        let buffer = MessageBuffer()
        do {
            while try socket.receive(into: buffer, blocking: false) != nil {}
            throw Ended()
        } catch let error as WireError {
            guard error.code == .resourceTemporarilyUnavailable else { throw error }
        }
    }

    /// Sends a message and reads the next reply: its status, and the first number of its body.
    func call<T: BitwiseCopyable, Element: BitwiseCopyable>(
        _ opcode: Opcode, _ contents: T, _ array: [Element], fds: [Int32] = []
    ) throws -> (status: Int32, handle: UInt32) {
        try send(message(opcode, contents, array), fds: fds)
        return try receive()
    }

    func call<T: BitwiseCopyable>(
        _ opcode: Opcode, _ contents: T, fds: [Int32] = []
    ) throws -> (status: Int32, handle: UInt32) {
        try call(opcode, contents, [UInt8](), fds: fds)
    }
}
