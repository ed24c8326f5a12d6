import CWireProtocol
import SystemPackage

/// Builds the reply to one request: its contents, or an errno and a sentence.
///
/// Threading: one thread at a time; it may be kept and finished later by another thread.
public struct ReplyBuilder: ~Copyable, Sendable {
    private let opcode: UInt16
    private let serial: UInt32
    private var writer: MessageWriter
    private var fds = FDList()
    private var owner: (any AnyObject & Sendable)?

    /// Starts the reply to a request.
    public init(to opcode: Opcode, serial: UInt32) {
        self.init(rawOpcode: opcode.rawValue, serial: serial)
    }

    init(rawOpcode: UInt16, serial: UInt32) {
        opcode = rawOpcode
        self.serial = serial
        writer = MessageWriter()
        writer.append(Self.header(rawOpcode, serial, status: 0))
    }

    /// Appends the fixed struct, or one element of an array.
    public mutating func append<T: BitwiseCopyable>(_ contents: T) {
        writer.append(contents)
    }

    /// Appends an array.
    public mutating func append<T: BitwiseCopyable>(contentsOf array: [T]) {
        writer.append(contentsOf: array)
    }

    /// Adds a descriptor, which the reply closes once it is sent or dropped.
    public mutating func attach(_ fd: consuming OwnedFD) {
        fds.append(fd)
    }

    /// Adds a descriptor that stays somebody else's, who keeps it open until the reply is sent.
    public mutating func attach(borrowing fd: Int32) {
        fds.append(borrowing: fd)
    }

    /// Adds a descriptor that `owner` keeps open as long as it lives; the reply keeps `owner`.
    ///
    /// - Precondition: Called once.
    public mutating func attach(borrowing fd: Int32, of owner: any AnyObject & Sendable) {
        precondition(self.owner == nil, "a reply keeps one owner of a descriptor")
        self.owner = owner
        fds.append(borrowing: fd)
    }

    /// Completes the reply; one of more than GPUVM_MAX_INLINE bytes goes by sealed memfd.
    ///
    /// - Throws: EMSGSIZE above GPUVM_MAX_EXTERNAL bytes; EMFILE, ENOMEM for a long one.
    public consuming func finish() throws(WireError) -> OutgoingMessage {
        try OutgoingMessage(writer, fds: fds, owner: owner)
    }

    /// Completes a reply that is short whatever it says: needs nothing of the host, so that a request
    /// that has been carried out is answered so.
    ///
    /// - Precondition: It has at most GPUVM_MAX_INLINE bytes.
    public consuming func finishInline() -> OutgoingMessage {
        OutgoingMessage(short: writer, fds: fds, owner: owner)
    }

    /// The reply to a request that failed.
    public static func failure(
        opcode: UInt16, serial: UInt32, _ error: WireError
    ) -> OutgoingMessage {
        var writer = MessageWriter()
        // A failure without an errno would look like a success.
        let status = error.code.rawValue > 0 ? error.code.rawValue : Errno.ioError.rawValue
        writer.append(header(opcode, serial, status: status))
        var contents = gpuvm_error_reply()
        contents.text_bytes = UInt32(error.text.utf8Prefix(WireError.maxTextBytes))
        writer.append(contents)
        writer.append(text: error.text, limit: WireError.maxTextBytes)
        return OutgoingMessage(short: writer)
    }

    /// The reply to a message that could not be decoded.
    public static func failure(_ failure: DecodeFailure) -> OutgoingMessage {
        self.failure(opcode: failure.opcode, serial: failure.serial, failure.error)
    }

    private static func header(_ opcode: UInt16, _ serial: UInt32, status: Int32) -> gpuvm_header {
        var header = gpuvm_header()
        header.opcode = opcode
        header.flags = UInt16(GPUVM_HEADER_REPLY)
        header.serial = serial
        header.status = status
        return header
    }
}

extension IncomingMessage {
    /// The error of a reply whose status is not 0.
    public func readError() throws(WireError) -> WireError {
        var reader = reader
        let contents = try reader.read(gpuvm_error_reply.self)
        let text = try reader.readText(
            count: contents.text_bytes, limit: WireError.maxTextBytes)
        try reader.expectEnd()
        return WireError(Errno(rawValue: status), text)
    }
}
