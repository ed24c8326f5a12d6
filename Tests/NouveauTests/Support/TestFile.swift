import Device
import Fencing
import Glibc
import Testing

/// An open file as a program with libdrm uses it: bytes in, bytes out.
final class TestFile: Sendable {
    let file: NouveauFile

    struct Outcome {
        var result: Int32
        var argument: Bytes
        var outputs: [Bytes]
        var descriptor: IoctlDescriptor?
    }

    /// A pointer of the argument: where it is, what it leads to, which way it goes.
    struct Block {
        var offset: Int
        var bytes: Bytes
        var isOutput = false
    }

    init(_ shared: NouveauDevice, name: String = "test", isRenderNode: Bool = true) {
        let client = shared.device.makeClient(
            name: name, process: 1, user: 0, isPrivileged: false)
        file = NouveauFile(shared, client: client, isRenderNode: isRenderNode)
    }

    deinit { file.close() }

    /// Sends the call; the pointers are 0, as in the shim's messages: nobody looks at them.
    func start(
        _ request: UInt32, _ argument: Bytes, _ blocks: [Block] = [], fds: [Int32] = []
    ) -> (answer: Answer, pending: PendingIoctl?) {
        let call = IoctlCall(
            request: IoctlRequest(request), argument: IoctlBytes(argument.bytes),
            blocks: blocks.map {
                IoctlBlock(
                    parent: 0, pointerOffset: UInt32($0.offset), isOutput: $0.isOutput,
                    contents: IoctlBytes($0.bytes.bytes))
            }, descriptors: fds)
        let answer = Answer()
        let pending = file.ioctl(call) { answer.complete($0) }
        return (answer, pending)
    }

    func call(
        _ request: UInt32, _ argument: Bytes, _ blocks: [Block] = [], fds: [Int32] = [],
        location: SourceLocation = #_sourceLocation
    ) throws -> Outcome {
        let reply = try #require(
            start(request, argument, blocks, fds: fds).answer.get(),
            "no reply in ten seconds", sourceLocation: location)
        return Outcome(
            result: reply.result, argument: Bytes(reply.argument.bytes),
            outputs: reply.outputs.map { Bytes($0.bytes) }, descriptor: reply.descriptor)
    }

    /// A call that has to succeed.
    @discardableResult
    func expect(
        _ request: UInt32, _ argument: Bytes, _ blocks: [Block] = [], fds: [Int32] = [],
        location: SourceLocation = #_sourceLocation
    ) throws -> Outcome {
        let outcome = try call(request, argument, blocks, fds: fds, location: location)
        try #require(outcome.result == 0, sourceLocation: location)
        return outcome
    }

    /// The errno that a call answers; 0 for success.
    func errno(
        _ request: UInt32, _ argument: Bytes, _ blocks: [Block] = [], fds: [Int32] = [],
        location: SourceLocation = #_sourceLocation
    ) throws -> Int32 {
        -(try call(request, argument, blocks, fds: fds, location: location).result)
    }
}
