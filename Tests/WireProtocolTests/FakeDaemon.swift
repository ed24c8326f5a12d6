import CPlatform
import CWireProtocol
import Fencing
import GPUVMClient
import SystemPackage
import WireProtocol

/// The other end of a client's connection, with answers of the test's choice.
///
/// Threading: the handler runs on the fake's own thread.
final class FakeDaemon: Sendable {
    /// What the handler sees of a request.
    struct Call: Sendable {
        let opcode: Opcode
        let serial: UInt32
        let body: [UInt8]

        func contents<T: BitwiseCopyable>(_ type: T.Type) -> T {
            body.withUnsafeBytes { $0.loadUnaligned(as: T.self) }
        }
    }

    /// False ends the connection.
    typealias Handler = @Sendable (Call, UnixSocket) -> Bool

    let clientEnd: UnixSocket
    let fencePage: OwnedFD
    private let thread: RuntimeThread

    /// Answers HELLO itself and hands everything else to `handler`.
    init(_ handler: @escaping Handler) throws {
        let (client, server) = try UnixSocket.pair()
        let page = try OwnedFD.memfd(name: "fences", bytes: UInt64(FencePage.chunkBytes))
        let pageCopy = try page.duplicate().release()
        clientEnd = client
        fencePage = page
        let thread = RuntimeThread.start(name: "fake-daemon") {
            Self.serve(server, OwnedFD(pageCopy), handler)
        }
        guard let thread else { throw WireError(.noMemory, "no thread") }
        self.thread = thread
    }

    /// Returns when the fake has seen the end of the connection.
    func join() {
        thread.join()
    }

    private static func serve(
        _ socket: UnixSocket, _ page: consuming OwnedFD, _ handler: Handler
    ) {
        let buffer = MessageBuffer()
        do {
            while let received = try socket.receive(into: buffer) {
                let message = try IncomingMessage(decoding: received, as: .request)
                let call = Call(
                    opcode: message.opcode, serial: message.serial, body: message.copyBody())
                if call.opcode == .hello {
                    try greet(socket, call, page)
                } else if !handler(call, socket) {
                    break
                }
            }
        } catch {
            // The client's assertions see the end of the connection.
        }
        socket.shutdown()
    }

    private static func greet(
        _ socket: UnixSocket, _ call: Call, _ page: borrowing OwnedFD
    ) throws {
        var reply = gpuvm_hello_reply()
        reply.major = UInt16(GPUVM_PROTOCOL_MAJOR)
        reply.client_id = 12
        reply.fence_slots_per_chunk = UInt32(FencePage.slotsPerChunk)
        reply.server = WireName.encode("fake")
        var builder = ReplyBuilder(to: .hello, serial: call.serial)
        builder.append(reply)
        builder.attach(borrowing: page.rawValue)
        _ = try builder.finish().send(on: socket, blocking: true)
    }

    /// Sends a reply of one struct.
    static func reply<T: BitwiseCopyable>(_ call: Call, _ contents: T, on socket: UnixSocket) {
        var builder = ReplyBuilder(to: call.opcode, serial: call.serial)
        builder.append(contents)
        _ = try? builder.finish().send(on: socket, blocking: true)
    }

    static func fail(_ call: Call, _ error: WireError, on socket: UnixSocket) {
        _ = try? ReplyBuilder.failure(
            opcode: call.opcode.rawValue, serial: call.serial, error
        ).send(on: socket, blocking: true)
    }
}
