import CWireProtocol
import Glibc
import SystemPackage
import WireProtocol

/// A connection that gets one answer, a refusal, to its first message.
///
/// It is no session: it takes no place of `limits.max_clients`, and few of them are answered at a
/// time, each for a short time. Further ones are closed without a word.
final class RefusedConnection: Sendable {
    /// Refusals under way at a time, a thread each.
    static let maximum = 16
    /// How long one waits for the message that it answers, ns.
    static let patience: UInt64 = 1_000_000_000

    /// Why a connection is refused.
    enum Reason: Sendable {
        /// The peer is in no list of `access`.
        case notAllowed
        /// The user has all connections that `limits.max_clients_per_user` grants.
        case tooManyOfUser(Int)

        /// For the log.
        var summary: String {
            switch self {
            case .notAllowed: "not in access.users or access.groups"
            case .tooManyOfUser: "limits.max_clients_per_user reached"
            }
        }

        /// For the peer.
        var error: WireError {
            switch self {
            case .notAllowed:
                WireError(
                    .permissionDenied,
                    """
                    this user is not allowed to use the device: ask for it in access.users or \
                    access.groups of gpuvmd's configuration
                    """)
            case .tooManyOfUser(let limit):
                WireError(
                    Errno(rawValue: EUSERS),
                    "this user has \(limit) connections, which is all that one user may have")
            }
        }
    }

    let socket: UnixSocket
    private let reason: Reason

    init(_ socket: UnixSocket, _ reason: Reason) {
        self.socket = socket
        self.reason = reason
    }

    /// Answers the first message if there is one in time, and ends the connection.
    func answer() {
        do throws(WireError) {
            guard socket.becomesReadable(within: Self.patience) else { return socket.shutdown() }
            let buffer = MessageBuffer()
            if let received = try socket.receive(into: buffer) {
                let header = Self.header(of: received)
                _ = try ReplyBuilder.failure(
                    opcode: header.opcode, serial: header.serial, reason.error
                ).send(on: socket, blocking: false)
            }
        } catch {
            // Who does not listen stays refused.
        }
        socket.shutdown()
    }

    /// What the answer repeats; zeros of a message that has no header.
    private static func header(of message: borrowing ReceivedMessage) -> gpuvm_header {
        guard message.bytes.count >= MemoryLayout<gpuvm_header>.size else { return gpuvm_header() }
        return message.bytes.loadUnaligned(as: gpuvm_header.self)
    }
}
