import CWireProtocol

/// Builds a request: the fixed struct, the arrays that it counts, the descriptors.
///
/// Threading: one thread at a time.
public struct Request: ~Copyable, Sendable {
    /// What is asked for.
    public let opcode: Opcode
    private var writer: MessageWriter
    private var fds = FDList()

    /// Starts a request without contents.
    public init(_ opcode: Opcode) {
        self.opcode = opcode
        writer = MessageWriter()
        writer.append(gpuvm_header())
    }

    /// Starts a request with its fixed struct.
    public init<T: BitwiseCopyable>(_ opcode: Opcode, _ contents: T) {
        self.init(opcode)
        writer.append(contents)
    }

    /// Appends one of the arrays, in the order of the protocol's comment.
    public mutating func append<T: BitwiseCopyable>(_ array: [T]) {
        writer.append(contentsOf: array)
    }

    /// Adds a descriptor, which stays the caller's and open until the request is sent.
    public mutating func attach(borrowing fd: Int32) {
        fds.append(borrowing: fd)
    }

    /// Completes the request under a number of the client's choice.
    ///
    /// - Throws: EMSGSIZE above GPUVM_MAX_EXTERNAL bytes; EMFILE, ENOMEM for a long one.
    public consuming func finish(serial: UInt32) throws(WireError) -> OutgoingMessage {
        var header = gpuvm_header()
        header.opcode = opcode.rawValue
        header.serial = serial
        writer.replace(at: 0, with: header)
        return try OutgoingMessage(writer, fds: fds)
    }
}
