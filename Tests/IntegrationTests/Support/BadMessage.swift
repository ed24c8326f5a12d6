import CWireProtocol
import WireProtocol

/// A message that has to be refused.
struct BadMessage {
    let name: String
    let error: Int32
    let bytes: [UInt8]
    let fds: [Int32]

    init(_ name: String, _ error: Int32, _ bytes: [UInt8], fds: [Int32] = []) {
        self.name = name
        self.error = error
        self.bytes = bytes
        self.fds = fds
    }

    /// A message whose header and shape are right, with one field changed.
    init<T: BitwiseCopyable>(
        _ opcode: Opcode, _ what: String, _ error: Int32, _ base: T, fds: [Int32] = [],
        _ change: (inout T) -> Void
    ) {
        var contents = base
        change(&contents)
        self.init(
            "\(opcode): \(what)", error,
            RawClient.message(opcode.rawValue, RawClient.body(contents)), fds: fds)
    }

    /// As above, with arrays.
    init<T: BitwiseCopyable>(
        _ opcode: Opcode, _ what: String, _ error: Int32, _ contents: T, tail: [UInt8]
    ) {
        self.init(
            "\(opcode): \(what)", error,
            RawClient.message(opcode.rawValue, RawClient.body(contents) + tail))
    }
}
