import WireProtocol

/// A reply's status, contents and descriptors, copied out of the receive buffer.
struct CallReply: ~Copyable {
    let opcode: Opcode
    /// Nil for a success.
    let error: WireError?
    var fds: FDList
    private let bytes: [UInt8]

    init(_ message: inout IncomingMessage) throws(WireError) {
        opcode = message.opcode
        if message.status != 0 {
            error = try message.readError()
            bytes = []
        } else {
            error = nil
            bytes = message.copyBody()
        }
        fds = message.takeFDs()
    }

    /// Reads the fixed struct, which is all there is.
    borrowing func contents<T: BitwiseCopyable>(_ type: T.Type) throws(ClientError) -> T {
        try parse { reader throws(WireError) in
            let value = try reader.read(T.self)
            try reader.expectEnd()
            return value
        }
    }

    /// Reads the fixed struct and the array that it counts.
    borrowing func array<Head: BitwiseCopyable, T: BitwiseCopyable>(
        _ head: Head.Type, of type: T.Type, count: (Head) -> UInt32
    ) throws(ClientError) -> (Head, [T]) {
        try parse { reader throws(WireError) in
            let head = try reader.read(Head.self)
            let elements = try reader.readArray(
                T.self, count: count(head), limit: .max, "records")
            let copied = Array(elements)
            try reader.expectEnd()
            return (head, copied)
        }
    }

    private borrowing func parse<Result>(
        _ body: (inout MessageReader) throws(WireError) -> Result
    ) throws(ClientError) -> Result {
        let result: Swift.Result<Result, WireError> = bytes.withUnsafeBytes { raw in
            var reader = MessageReader(raw)
            do throws(WireError) { return .success(try body(&reader)) } catch {
                return .failure(error)
            }
        }
        switch result {
        case .success(let value): return value
        case .failure(let error):
            throw ClientError(.protocolError, opcode, "the daemon's reply: \(error.text)")
        }
    }
}
