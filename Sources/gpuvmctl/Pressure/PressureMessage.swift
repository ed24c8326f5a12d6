import WireProtocol

/// What the demo and its clients tell each other: one line of text in one message.
enum PressureMessage: Equatable {
    // From the demo.
    /// All clients have their buffers: begin.
    case go
    /// All clients have done their rounds: compare every byte.
    case verify

    // From a client.
    /// It has a connection, on which the daemon gives it this number.
    case connected(client: UInt32)
    /// It has its VMs and buffers.
    case ready(vms: Int, buffers: Int, bytes: UInt64)
    /// How much it has done so far.
    case progress(rounds: Int, jobs: UInt64)
    /// It has done its rounds.
    case finished
    /// A buffer has wrong bytes.
    case mismatch(buffer: String, PressureModel.Difference)
    /// It cannot go on, for this reason, with this errno.
    case problem(errno: Int32, String)
    /// It has compared so many bytes.
    case verified(bytes: UInt64)

    /// The line.
    var text: String {
        switch self {
        case .go: "go"
        case .verify: "verify"
        case .connected(let client): "connected \(client)"
        case .ready(let vms, let buffers, let bytes): "ready \(vms) \(buffers) \(bytes)"
        case .progress(let rounds, let jobs): "progress \(rounds) \(jobs)"
        case .finished: "finished"
        case .mismatch(let buffer, let difference):
            """
            mismatch \(difference.offset) \(difference.expected) \(difference.found) \
            \(difference.count) \(buffer)
            """
        case .problem(let errno, let text): "problem \(errno) \(text)"
        case .verified(let bytes): "verified \(bytes)"
        }
    }

    /// The message of a line; nil for any other.
    init?(_ text: String) {
        let words = text.split(separator: " ", omittingEmptySubsequences: false)
        func number<T: FixedWidthInteger>(_ index: Int) -> T? {
            index < words.count ? T(words[index]) : nil
        }
        func rest(_ index: Int) -> String { words.dropFirst(index).joined(separator: " ") }
        switch words.first {
        case "go": self = .go
        case "verify": self = .verify
        case "finished": self = .finished
        case "connected":
            guard let client: UInt32 = number(1) else { return nil }
            self = .connected(client: client)
        case "ready":
            guard let vms: Int = number(1), let buffers: Int = number(2),
                let bytes: UInt64 = number(3)
            else { return nil }
            self = .ready(vms: vms, buffers: buffers, bytes: bytes)
        case "progress":
            guard let rounds: Int = number(1), let jobs: UInt64 = number(2) else { return nil }
            self = .progress(rounds: rounds, jobs: jobs)
        case "mismatch":
            guard let offset: UInt64 = number(1), let expected: UInt8 = number(2),
                let found: UInt8 = number(3), let count: UInt64 = number(4)
            else { return nil }
            self = .mismatch(
                buffer: rest(5),
                PressureModel.Difference(
                    offset: offset, expected: expected, found: found, count: count))
        case "problem":
            guard let errno: Int32 = number(1) else { return nil }
            self = .problem(errno: errno, rest(2))
        case "verified":
            guard let bytes: UInt64 = number(1) else { return nil }
            self = .verified(bytes: bytes)
        default: return nil
        }
    }
}

/// One end of the talk between the demo and a client.
///
/// Threading: one thread at a time.
final class PressureChannel: Sendable {
    private let socket: UnixSocket

    init(_ socket: UnixSocket) {
        self.socket = socket
    }

    /// The descriptor, to poll; it stays the channel's.
    var fd: Int32 { socket.rawValue }

    /// Sends a message; blocks while the peer's buffer is full.
    ///
    /// - Throws: EPIPE or ECONNRESET when the peer is gone.
    func send(_ message: PressureMessage) throws(WireError) {
        let bytes = Array(message.text.utf8.prefix(4096))
        let result: Result<Bool, WireError> = bytes.withUnsafeBytes { raw in
            do throws(WireError) {
                return .success(try socket.send(raw, fds: FDList(), blocking: true))
            } catch {
                return .failure(error)
            }
        }
        _ = try result.get()
    }

    /// Ends the talk: the peer's ``receive()`` returns nil.
    func end() { socket.shutdown() }

    /// The next message; nil when the peer has ended.
    ///
    /// - Throws: EPROTO for anything else.
    func receive() throws(WireError) -> PressureMessage? {
        let buffer = MessageBuffer()
        guard let received = try socket.receive(into: buffer) else { return nil }
        let text = String(decoding: received.bytes, as: UTF8.self)
        guard let message = PressureMessage(text) else {
            throw WireError(.protocolError, "not a message of the demo: \(text)")
        }
        return message
    }
}
