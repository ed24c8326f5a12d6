import CPlatform
import CWireProtocol
import Device
import Fencing
import Glibc
import Logging
import WireProtocol

@testable import GPUVMDaemon

/// The native protocol: a connection's requests through a real session and device.
///
/// Every request has to be answered, once, and an ended connection leaves nothing behind.
enum RequestTarget {
    private static let server = FuzzServer()
    /// The longest that an answer may take: far more than any does, also on a busy machine.
    private static let patience: Int32 = 20_000

    static func run(_ bytes: UnsafeRawBufferPointer) {
        var input = FuzzInput(bytes)
        let setup = input.byte()
        guard let (near, far) = try? UnixSocket.pair() else { return }
        server.accept(far, isPrivileged: setup & 1 != 0)
        var connection = Connection(socket: near)
        var grammar = RequestGrammar()
        if setup & 0x80 == 0 { connection.exchange(grammar.beginning()) }
        var left = 48
        while !input.isEmpty, left > 0, !connection.hasEnded {
            left -= 1
            connection.exchange([grammar.next(&input)])
        }
        near.shutdown()
        server.expectNothingLeft()
    }

    /// The client's end.
    private struct Connection: ~Copyable {
        let socket: UnixSocket
        private let buffer = MessageBuffer()
        private var serial: UInt32 = 0
        /// Requests whose replies may come whenever what they wait for does.
        private var deferred: Set<UInt32> = []
        private(set) var hasEnded = false
        /// Descriptors that replies brought, for later requests.
        private var kept: [Int32] = []

        init(socket: UnixSocket) { self.socket = socket }

        deinit { for fd in kept { close(fd) } }

        mutating func exchange(_ messages: [RequestGrammar.Message]) {
            for message in messages where !hasEnded { exchange(message) }
        }

        private mutating func exchange(_ message: RequestGrammar.Message) {
            serial += 1
            var bytes = message.bytes
            var awaited: UInt32 = 0
            if bytes.count >= 16 {
                let number = serial
                bytes.replaceSubrange(
                    8..<12, with: (0..<4).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) })
                awaited = serial
            }
            var fds = FDList()
            for kind in message.descriptors { if let fd = descriptor(kind) { fds.append(fd) } }
            let isSent = bytes.withUnsafeBytes { raw in
                (try? socket.send(raw, fds: fds, blocking: true)) ?? false
            }
            guard isSent else {
                hasEnded = true
                return
            }
            if message.mayWait { deferred.insert(awaited) }
            // The file of a DRM node speaks another protocol, and an end of the stream is one.
            if message.isLast { return hasEnded = true }
            while receive(message.mayWait ? 0 : RequestTarget.patience, awaited) {}
        }

        /// Takes a reply; false when the one that is waited for has come, or none is waited for.
        private mutating func receive(_ timeout: Int32, _ awaited: UInt32) -> Bool {
            var descriptor = pollfd(fd: socket.rawValue, events: Int16(POLLIN), revents: 0)
            var ready = poll(&descriptor, 1, timeout)
            // libFuzzer's timer interrupts.
            while ready < 0, errno == EINTR { ready = poll(&descriptor, 1, timeout) }
            guard ready > 0 else {
                if timeout > 0 { fuzzFailure("request \(awaited) is not answered") }
                return false
            }
            guard let received = try? socket.receive(into: buffer) else {
                fuzzFailure("the connection was cut after request \(serial)")
            }
            guard received.bytes.count >= 16 else { fuzzFailure("a reply without a header") }
            let answered = received.bytes.loadUnaligned(as: gpuvm_header.self).serial
            // Those to opcodes and headers that nobody knows are no replies that a client takes.
            if var message = try? IncomingMessage(decoding: received, as: .reply),
                let fd = message.fds.take(0), kept.count < 4
            {
                kept.append(fd.release())
            }
            if answered == awaited, timeout > 0 { return false }
            guard deferred.remove(answered) != nil else {
                fuzzFailure("request \(answered) is answered when \(serial) are sent")
            }
            return true
        }

        private func descriptor(_ kind: UInt8) -> OwnedFD? {
            switch kind % 8 {
            case 0: OwnedFD(gpuvm_eventfd_create(0))
            case 1: sealed(bytes: 1 << 16)
            case 2: try? OwnedFD.memfd(name: "fuzz", bytes: 1 << 14)
            case 3: try? OwnedFD(duplicating: 0)
            case 4: try? OwnedFD(duplicating: socket.rawValue)
            default:
                kept.isEmpty
                    ? OwnedFD(gpuvm_eventfd_create(0))
                    : try? OwnedFD(duplicating: kept[Int(kind) % kept.count])
            }
        }

        private func sealed(bytes: UInt64) -> OwnedFD? {
            guard let fd = try? OwnedFD.memfd(name: "fuzz", bytes: bytes) else { return nil }
            _ = gpuvm_add_seals(fd.rawValue, GPUVM_SEAL_SHRINK)
            return fd
        }
    }
}
