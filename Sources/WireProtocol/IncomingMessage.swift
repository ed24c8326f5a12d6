import CWireProtocol
import SystemPackage

/// A message whose header, size, descriptors and shape have been checked.
///
/// The body lies in the receiver's ``MessageBuffer`` or, for an external message, in memory of its
/// own into which the memfd has been copied once. Descriptors that nobody takes are closed with it.
///
/// Threading: one thread at a time.
public struct IncomingMessage: ~Copyable {
    /// Which way a message goes.
    public enum Direction: Sendable {
        case request
        case reply
    }

    /// What the message asks for or answers.
    public let opcode: Opcode
    /// The client's number of the request.
    public let serial: UInt32
    /// 0, or the positive errno of a reply; the body is then an error reply.
    public let status: Int32
    /// The descriptors of the opcode.
    public var fds: FDList

    fileprivate let body: MessageBody

    /// A cursor at the start of the body; it may be used as long as the message lives.
    public var reader: MessageReader { MessageReader(body.bytes) }

    /// Checks what was received against the protocol.
    ///
    /// - Throws: A ``DecodeFailure`` with EINVAL (header, size, descriptors, shape), EMSGSIZE (longer
    ///   than GPUVM_MAX_INLINE or GPUVM_MAX_EXTERNAL), EOPNOTSUPP (unknown opcode), ENOMEM.
    public init(
        decoding received: consuming ReceivedMessage, as direction: Direction
    ) throws(DecodeFailure) {
        let bytes = received.bytes
        guard bytes.count >= MemoryLayout<gpuvm_header>.size else {
            throw DecodeFailure(
                opcode: 0, serial: 0,
                error: .invalid("a message of \(bytes.count) bytes has no room for its header"))
        }
        let header = bytes.loadUnaligned(as: gpuvm_header.self)
        do throws(WireError) {
            self = try Self(received, header, direction)
        } catch {
            throw DecodeFailure(opcode: header.opcode, serial: header.serial, error: error)
        }
    }

    private init(
        _ received: consuming ReceivedMessage, _ header: gpuvm_header, _ direction: Direction
    ) throws(WireError) {
        guard !received.bytesWereCut else {
            throw WireError(
                .messageTooLong,
                """
                a message is longer than \(GPUVM_MAX_INLINE) bytes: larger ones go by memfd \
                (GPUVM_HEADER_EXTERNAL)
                """)
        }
        guard !received.fdsWereCut else {
            throw .invalid(
                """
                not all file descriptors of a message could be received: it carries more than \
                \(FDList.capacity), or the receiver has none left
                """)
        }
        let (opcode, shape) = try Self.checkHeader(header, direction)
        let bytes = received.bytes
        var fds = received.fds
        let body = try MessageBody(header, message: bytes, fds: &fds)
        try Self.check(opcode, shape, bytes: body.bytes.count, fds: fds.count)
        self.opcode = opcode
        self.serial = header.serial
        self.status = header.status
        self.fds = fds
        self.body = body
    }

    private static func checkHeader(
        _ header: gpuvm_header, _ direction: Direction
    ) throws(WireError) -> (opcode: Opcode, shape: Opcode.Shape) {
        let marker = direction == .reply ? GPUVM_HEADER_REPLY : 0
        let flags = UInt32(header.flags)
        guard flags & ~GPUVM_HEADER_EXTERNAL == marker else {
            throw .invalid("the header has the flags 0x\(String(flags, radix: 16))")
        }
        guard direction == .reply ? header.status >= 0 : header.status == 0 else {
            throw .invalid("the header has the status \(header.status)")
        }
        guard let opcode = Opcode(rawValue: header.opcode) else {
            // The client never sees this: its library knows every opcode that it sends.
            throw WireError(
                .notSupported, "the opcode \(header.opcode) is unknown to this version")
        }
        let shapes = opcode.shapes
        if direction == .request { return (opcode, shapes.request) }
        if header.status == 0 { return (opcode, shapes.reply) }
        return (opcode, .arrays(gpuvm_error_reply.self))
    }

    private static func check(
        _ opcode: Opcode, _ shape: Opcode.Shape, bytes: Int, fds: Int
    ) throws(WireError) {
        guard shape.fds.contains(fds) else {
            throw .invalid(
                "\(opcode) takes \(describe(shape.fds)) and the message carries \(fds)")
        }
        guard shape.hasArrays ? bytes >= shape.fixedBytes : bytes == shape.fixedBytes else {
            throw .invalid(
                """
                the contents of \(opcode) have \(bytes) bytes instead of \
                \(shape.hasArrays ? "at least " : "")\(shape.fixedBytes)
                """)
        }
    }

    private static func describe(_ fds: ClosedRange<Int>) -> String {
        if fds.upperBound == 0 { return "no file descriptor" }
        if fds.lowerBound == fds.upperBound { return "\(fds.lowerBound) file descriptor(s)" }
        return "\(fds.lowerBound) to \(fds.upperBound) file descriptors"
    }
}

extension IncomingMessage {
    /// The body, copied.
    public borrowing func copyBody() -> [UInt8] { Array(body.bytes) }

    /// Moves the descriptors out; the message has none afterwards.
    public mutating func takeFDs() -> FDList {
        exchange(&fds, with: FDList())
    }
}
