import CWireProtocol
import Glibc
import SystemPackage

/// What a message of the DRM shim asks for; the numbers are those of `enum gpuvm_drm_opcode`.
public enum DRMOpcode: UInt16, CaseIterable, Sendable {
    /// On a new connection, which becomes an open file.
    case open = 128
    /// On an open file: an end of a socket pair, on which requests come.
    case stream = 129
    /// On a stream.
    case ioctl = 130
    /// On a stream.
    case mmap = 131

    var shape: Opcode.Shape {
        switch self {
        case .open: .fixed(gpuvm_drm_open.self)
        case .stream: .fds(1...1)
        case .ioctl:
            Opcode.Shape(
                fixedBytes: MemoryLayout<gpuvm_drm_ioctl>.size, hasArrays: true,
                fds: 0...FDList.capacity - 1)
        case .mmap: .fixed(gpuvm_drm_mmap.self)
        }
    }
}

/// A request of the DRM shim whose header, size and descriptors have been checked.
///
/// The same framing as an ``IncomingMessage``'s, with opcodes of its own.
///
/// Threading: one thread at a time.
public struct IncomingDRMMessage: ~Copyable {
    /// What the message asks for.
    public let opcode: DRMOpcode
    /// The shim's number of the request.
    public let serial: UInt32
    /// The descriptors that came with it, the memfd of an external message not among them.
    public var fds: FDList

    private let body: MessageBody

    /// A cursor at the start of the body; it may be used as long as the message lives.
    public var reader: MessageReader { MessageReader(body.bytes) }

    /// Whether a connection's first message makes it an open file.
    public static func isOpen(_ received: borrowing ReceivedMessage) -> Bool {
        guard received.bytes.count >= MemoryLayout<gpuvm_header>.size else { return false }
        let header = received.bytes.loadUnaligned(as: gpuvm_header.self)
        return header.opcode == DRMOpcode.open.rawValue
    }

    /// Checks what was received against the protocol.
    ///
    /// - Throws: As ``IncomingMessage/init(decoding:as:)``.
    public init(decoding received: consuming ReceivedMessage) throws(DecodeFailure) {
        let bytes = received.bytes
        guard bytes.count >= MemoryLayout<gpuvm_header>.size else {
            throw DecodeFailure(
                opcode: 0, serial: 0,
                error: .invalid("a message of \(bytes.count) bytes has no room for its header"))
        }
        let header = bytes.loadUnaligned(as: gpuvm_header.self)
        do throws(WireError) {
            self = try Self(received, header)
        } catch {
            throw DecodeFailure(opcode: header.opcode, serial: header.serial, error: error)
        }
    }

    private init(
        _ received: consuming ReceivedMessage, _ header: gpuvm_header
    ) throws(WireError) {
        guard !received.bytesWereCut, !received.fdsWereCut else {
            throw WireError(
                .messageTooLong,
                """
                a message is longer than \(GPUVM_MAX_INLINE) bytes or carries more than \
                \(FDList.capacity) descriptors
                """)
        }
        guard UInt32(header.flags) & ~GPUVM_HEADER_EXTERNAL == 0, header.status == 0 else {
            throw .invalid("the header of a request has other flags or a status")
        }
        guard let opcode = DRMOpcode(rawValue: header.opcode) else {
            throw WireError(
                .notSupported, "the opcode \(header.opcode) is none of an open file's")
        }
        let bytes = received.bytes
        var fds = received.fds
        let body = try MessageBody(header, message: bytes, fds: &fds)
        let shape = opcode.shape
        guard shape.fds.contains(fds.count) else {
            throw .invalid("\(opcode) carries \(fds.count) descriptors")
        }
        let count = body.bytes.count
        guard shape.hasArrays ? count >= shape.fixedBytes : count == shape.fixedBytes else {
            throw .invalid("the contents of \(opcode) have \(count) bytes")
        }
        self.opcode = opcode
        serial = header.serial
        self.fds = fds
        self.body = body
    }
}

extension ReplyBuilder {
    /// Starts the reply to a request of the DRM shim.
    public init(to opcode: DRMOpcode, serial: UInt32) {
        self.init(rawOpcode: opcode.rawValue, serial: serial)
    }
}

extension IncomingDRMMessage {
    /// Moves the descriptors out; the message has none afterwards.
    public mutating func takeFDs() -> FDList { exchange(&fds, with: FDList()) }
}

extension FDList {
    /// The numbers of the descriptors that were not taken, in order; they stay the list's.
    public var numbers: [Int32] {
        var numbers: [Int32] = []
        for index in 0..<count {
            if let number = self[index] { numbers.append(number) }
        }
        return numbers
    }
}

extension UnixSocket {
    /// Whether it is a Unix socket of type SOCK_SEQPACKET; what a client passes may be anything.
    public var isUnixSeqpacket: Bool {
        func option(_ name: Int32) -> Int32 {
            var value: Int32 = -1
            var length = socklen_t(MemoryLayout<Int32>.size)
            return getsockopt(rawValue, SOL_SOCKET, name, &value, &length) == 0 ? value : -1
        }
        return option(SO_DOMAIN) == AF_UNIX
            && option(SO_TYPE) == Int32(SOCK_SEQPACKET.rawValue)
    }
}
