import CPlatform
import CWireProtocol
import Glibc
import Testing
import WireProtocol

/// A client that writes its messages by hand, right or wrong.
final class RawClient: Sendable {
    let socket: UnixSocket

    /// What the daemon answered, read without the library's decoder.
    struct Reply: Sendable {
        let header: gpuvm_header
        let body: [UInt8]
        let fds: Int

        var status: Int32 { header.status }
        var serial: UInt32 { header.serial }

        /// The fixed struct at the beginning.
        func contents<T: BitwiseCopyable>(_ type: T.Type) throws -> T {
            try #require(header.status == 0, "\(text)")
            try #require(body.count >= MemoryLayout<T>.size)
            return body.withUnsafeBytes { $0.loadUnaligned(as: T.self) }
        }

        /// The sentence of an error reply.
        var text: String {
            guard status != 0, body.count >= 8 else { return "" }
            let count = body.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }
            return String(decoding: body.dropFirst(8).prefix(Int(count)), as: UTF8.self)
        }
    }

    /// The daemon has ended the connection.
    struct Disconnected: Error {}

    init(_ path: String) throws {
        socket = try UnixSocket.connect(path: path)
    }

    /// Talks on a socket that is connected.
    init(adopting socket: UnixSocket) { self.socket = socket }

    /// Another descriptor of the same connection, for a client of the library.
    func duplicate() throws -> UnixSocket {
        UnixSocket(adopting: try OwnedFD(duplicating: socket.rawValue))
    }

    @discardableResult
    func hello(_ name: String) throws -> gpuvm_hello_reply {
        var hello = gpuvm_hello()
        hello.magic = GPUVM_PROTOCOL_MAGIC
        hello.major = UInt16(GPUVM_PROTOCOL_MAJOR)
        hello.name = WireName.encode(name)
        return try call(.hello, hello).contents(gpuvm_hello_reply.self)
    }

    // MARK: bytes

    /// A message of any opcode, header included.
    static func message(
        _ opcode: UInt16, _ body: [UInt8], serial: UInt32 = 1, length: UInt32? = nil,
        flags: UInt32 = 0, status: Int32 = 0
    ) -> [UInt8] {
        var writer = MessageWriter()
        writer.append(
            gpuvm_header(
                length: length ?? UInt32(16 + body.count), opcode: opcode,
                flags: UInt16(truncatingIfNeeded: flags), serial: serial, status: status))
        writer.append(contentsOf: body)
        return writer.bytes
    }

    /// The bytes of a struct and of an array behind it.
    static func body<T: BitwiseCopyable, Element: BitwiseCopyable>(
        _ contents: T, _ array: [Element]
    ) -> [UInt8] {
        var writer = MessageWriter()
        writer.append(contents)
        writer.append(contentsOf: array)
        return writer.bytes
    }

    static func body<T: BitwiseCopyable>(_ contents: T) -> [UInt8] { body(contents, [UInt8]()) }

    /// Sends bytes and descriptors as they are.
    func send(_ bytes: [UInt8], fds: [Int32] = []) throws {
        let result = sendRaw(bytes, fds: fds, flags: 0)
        if result < 0 { throw Disconnected() }
    }

    /// The number of bytes sent, or -errno; `flags` may have MSG_DONTWAIT.
    func sendRaw(_ bytes: [UInt8], fds: [Int32] = [], flags: Int32) -> Int {
        var bytes = bytes
        return bytes.withUnsafeMutableBytes { raw in
            var message = gpuvm_message()
            message.bytes = raw.baseAddress
            message.length = raw.count
            message.fd_count = UInt32(fds.count)
            withUnsafeMutableBytes(of: &message.fds) { target in
                for (index, fd) in fds.enumerated() {
                    target.storeBytes(of: fd, toByteOffset: 4 * index, as: Int32.self)
                }
            }
            return gpuvm_send(socket.rawValue, &message, flags)
        }
    }

    /// Sends more descriptors than the protocol allows, at most 253 (SCM_MAX_FD).
    func sendMany(_ bytes: [UInt8], _ fds: [Int32]) throws {
        var bytes = bytes
        // struct cmsghdr: length, level, type; then the descriptors, padded to 8 bytes.
        let length = 16 + 4 * fds.count
        var control = [UInt8](repeating: 0, count: (length + 7) / 8 * 8)
        control.withUnsafeMutableBytes { raw in
            raw.storeBytes(of: length, as: Int.self)
            raw.storeBytes(of: SOL_SOCKET, toByteOffset: 8, as: Int32.self)
            raw.storeBytes(of: Int32(1), toByteOffset: 12, as: Int32.self)  // SCM_RIGHTS
            for (index, fd) in fds.enumerated() {
                raw.storeBytes(of: fd, toByteOffset: 16 + 4 * index, as: Int32.self)
            }
        }
        let sent = bytes.withUnsafeMutableBytes { raw in
            control.withUnsafeMutableBytes { rights in
                var vector = iovec(iov_base: raw.baseAddress, iov_len: raw.count)
                return withUnsafeMutablePointer(to: &vector) { vector in
                    var message = msghdr()
                    message.msg_iov = vector
                    message.msg_iovlen = 1
                    message.msg_control = rights.baseAddress
                    message.msg_controllen = rights.count
                    return sendmsg(socket.rawValue, &message, Int32(MSG_NOSIGNAL))
                }
            }
        }
        try #require(sent == bytes.count)
    }

    /// The next reply; fails the test if none comes within 20 s.
    func receive() throws -> Reply {
        try #require(becomesReadable(socket.rawValue), "the daemon does not answer")
        var buffer = [UInt8](repeating: 0, count: 1 << 17)
        var message = gpuvm_message()
        let count = buffer.withUnsafeMutableBytes { raw in
            message.bytes = raw.baseAddress
            message.length = raw.count
            return gpuvm_receive(socket.rawValue, &message, 0)
        }
        guard count > 0 else { throw Disconnected() }
        try #require(count >= 16)
        closeDescriptors(message)
        return Reply(
            header: buffer.withUnsafeBytes { $0.loadUnaligned(as: gpuvm_header.self) },
            body: Array(buffer[16..<count]), fds: Int(message.fd_count))
    }

    /// Reads and forgets whatever has come; false if the connection has ended.
    func discardReplies() -> Bool {
        var buffer = [UInt8](repeating: 0, count: 1 << 17)
        while true {
            var message = gpuvm_message()
            let count = buffer.withUnsafeMutableBytes { raw in
                message.bytes = raw.baseAddress
                message.length = raw.count
                return gpuvm_receive(socket.rawValue, &message, Int32(MSG_DONTWAIT))
            }
            guard count > 0 else { return count == -Int(EAGAIN) }
            closeDescriptors(message)
        }
    }

    private func closeDescriptors(_ message: gpuvm_message) {
        withUnsafeBytes(of: message.fds) { fds in
            for index in 0..<Int(message.fd_count) {
                close(fds.load(fromByteOffset: 4 * index, as: Int32.self))
            }
        }
    }

    /// Sends a well-formed message; its serial.
    @discardableResult
    func send<T: BitwiseCopyable, Element: BitwiseCopyable>(
        _ opcode: Opcode, _ contents: T, array: [Element], fds: [Int32] = []
    ) throws -> UInt32 {
        let serial = UInt32.random(in: 1 ... .max)
        try send(
            Self.message(opcode.rawValue, Self.body(contents, array), serial: serial), fds: fds)
        return serial
    }

    /// Sends a well-formed message and reads the next reply.
    func call<T: BitwiseCopyable, Element: BitwiseCopyable>(
        _ opcode: Opcode, _ contents: T, array: [Element], fds: [Int32] = []
    ) throws -> Reply {
        try send(opcode, contents, array: array, fds: fds)
        return try receive()
    }

    func call<T: BitwiseCopyable>(
        _ opcode: Opcode, _ contents: T, fds: [Int32] = []
    ) throws -> Reply {
        try call(opcode, contents, array: [UInt8](), fds: fds)
    }

    func call(_ opcode: Opcode) throws -> Reply {
        try send(Self.message(opcode.rawValue, []))
        return try receive()
    }

    func call(bytes: [UInt8], fds: [Int32] = []) throws -> Reply {
        try send(bytes, fds: fds)
        return try receive()
    }
}
