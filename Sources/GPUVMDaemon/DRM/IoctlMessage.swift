import CWireProtocol
import Device
import SystemPackage
import WireProtocol

/// Ioctls between the wire and the personality.
enum IoctlMessage {
    /// `_IOC_SIZE` has 14 bits.
    private static let maximumArgument: UInt32 = 0x3fff
    private static let alignment = 8

    /// Reads a gpuvm_drm_ioctl: the argument, the blocks' descriptions, the input blocks' bytes.
    ///
    /// - Parameter fds: Those of the message; the call's descriptors are theirs.
    /// - Throws: EINVAL, EMSGSIZE.
    static func decode(
        _ message: borrowing IncomingDRMMessage, _ fds: borrowing FDList
    ) throws(WireError) -> IoctlCall {
        var reader = message.reader
        let head: gpuvm_drm_ioctl = try reader.read()
        let request = IoctlRequest(head.request)
        guard head.arg_bytes <= maximumArgument, Int(head.arg_bytes) == request.size else {
            throw .invalid(
                "an argument of \(head.arg_bytes) bytes for a request of \(request.size)")
        }
        try requireFlags(head.flags, known: GPUVM_DRM_IOCTL_NONBLOCK, "flags")
        let argument = try padded(&reader, count: head.arg_bytes)
        let blocks: WireArray<gpuvm_drm_block> = try reader.readArray(
            count: head.block_count, limit: GPUVM_DRM_MAX_BLOCKS, "blocks")
        var total = 0
        var decoded: [IoctlBlock] = []
        for (index, block) in blocks.enumerated() {
            try requireFlags(
                block.flags, known: GPUVM_DRM_BLOCK_IN | GPUVM_DRM_BLOCK_OUT, "a block's flags")
            guard block.parent <= index else {
                throw .invalid("block \(index) hangs on one that comes after it")
            }
            total += Int(block.bytes)
            guard total <= Int(GPUVM_MAX_EXTERNAL) else {
                throw WireError(.messageTooLong, "the blocks of a call have \(total) bytes")
            }
            let contents =
                block.flags & GPUVM_DRM_BLOCK_IN != 0
                ? IoctlBytes(try padded(&reader, count: block.bytes))
                : IoctlBytes(zeros: Int(block.bytes))
            decoded.append(
                IoctlBlock(
                    parent: block.parent, pointerOffset: block.pointer_offset,
                    isOutput: block.flags & GPUVM_DRM_BLOCK_OUT != 0, contents: contents))
        }
        try reader.expectEnd()
        return IoctlCall(
            request: request, argument: IoctlBytes(argument), blocks: decoded,
            descriptors: fds.numbers)
    }

    /// Writes a gpuvm_drm_ioctl_reply: the argument and the output blocks' bytes.
    ///
    /// - Throws: EMSGSIZE, EMFILE, ENOMEM for a long one.
    static func encode(
        _ reply: IoctlReply, serial: UInt32
    ) throws(WireError) -> OutgoingMessage {
        var builder = ReplyBuilder(to: .ioctl, serial: serial)
        builder.append(
            gpuvm_drm_ioctl_reply(
                result: reply.result, arg_bytes: UInt32(reply.argument.count),
                block_count: UInt32(reply.outputs.count), reserved: 0))
        append(reply.argument, to: &builder)
        for output in reply.outputs { append(output, to: &builder) }
        if let descriptor = reply.descriptor {
            builder.attach(borrowing: descriptor.rawValue, of: descriptor)
        }
        return try builder.finish()
    }

    private static func padded(
        _ reader: inout MessageReader, count: UInt32
    ) throws(WireError) -> [UInt8] {
        let bytes = try reader.readBytes(count: Int(count))
        _ = try reader.readBytes(count: (alignment - bytes.count % alignment) % alignment)
        return bytes
    }

    private static func append(_ bytes: IoctlBytes, to builder: inout ReplyBuilder) {
        builder.append(contentsOf: bytes.bytes)
        let padding = (alignment - bytes.count % alignment) % alignment
        builder.append(contentsOf: [UInt8](repeating: 0, count: padding))
    }
}
