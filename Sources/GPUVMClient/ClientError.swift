import SystemPackage
import WireProtocol

/// A request that failed: the errno, what was asked, and the daemon's sentence about it.
///
/// ECONNRESET means that the daemon went away while the request was under way, ENOTCONN that it had
/// gone before; every later call of the connection fails with ENOTCONN.
public struct ClientError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What a program decides by.
    public let code: Errno
    /// The request that failed; nil if the connection could not be made.
    public let opcode: Opcode?
    /// What a person reads.
    public let text: String

    /// Creates an error.
    public init(_ code: Errno, _ opcode: Opcode?, _ text: String) {
        self.code = code
        self.opcode = opcode
        self.text = text
    }

    init(_ error: WireError, _ opcode: Opcode?) {
        self.init(error.code, opcode, error.text)
    }

    /// The opcode, the text and the errno's name.
    public var description: String {
        let subject = opcode.map { "\($0): " } ?? ""
        return "\(subject)\(text) [\(code.symbol)]"
    }
}
