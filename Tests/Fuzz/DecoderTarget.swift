import CPlatform
import CWireProtocol
import Glibc
import WireProtocol

@testable import Device
@testable import GPUVMDaemon

/// The decoder: messages of bytes and descriptors, as requests, as replies and as the DRM shim's.
enum DecoderTarget {
    static func run(_ bytes: UnsafeRawBufferPointer) {
        var input = FuzzInput(bytes)
        let kind = input.byte()
        var handed: [Int32] = []
        var message = [UInt8]()
        let isExternal = kind & 0x40 != 0
        var fds = FDList()
        if isExternal {
            // The header alone; the contents are in a memfd.
            message = input.take(16)
            let contents = input.rest()
            guard let fd = memfd(contents, isSealed: kind & 0x80 == 0) else { return }
            handed.append(fd.rawValue)
            fds.append(fd)
            if message.count == 16 {
                message.replaceSubrange(0..<4, with: little(contents.count))
                message[6] |= UInt8(GPUVM_HEADER_EXTERNAL)
            }
        } else {
            message = input.rest()
            if kind & 0x80 == 0, message.count >= 16 {
                message.replaceSubrange(0..<4, with: little(message.count))
            }
        }
        for index in 0..<(kind >> 2 & 3) {
            let number = index == 1 ? gpuvm_eventfd_create(0) : dup(0)
            guard number >= 0 else { continue }
            handed.append(number)
            fds.append(OwnedFD(number))
        }
        // As long as the message is, so that the sanitizer sees the byte behind it.
        let exact = UnsafeMutableRawBufferPointer.allocate(byteCount: message.count, alignment: 8)
        exact.copyBytes(from: message)
        decode(UnsafeRawBufferPointer(exact), fds, kind & 3, cut: kind & 0x30 == 0x30)
        exact.deallocate()
        // Who decodes owns the descriptors, and has closed them whatever the message was.
        for number in handed where fcntl(number, F_GETFD) >= 0 {
            fuzzFailure("descriptor \(number) of the message is still open")
        }
    }

    private static func little(_ count: Int) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) }
    }

    private static func memfd(_ contents: [UInt8], isSealed: Bool) -> OwnedFD? {
        guard let fd = try? OwnedFD.memfd(name: "fuzz", bytes: UInt64(contents.count)) else {
            return nil
        }
        _ = contents.withUnsafeBytes { pwrite(fd.rawValue, $0.baseAddress, $0.count, 0) }
        if isSealed { _ = gpuvm_add_seals(fd.rawValue, GPUVM_SEAL_SHRINK | GPUVM_SEAL_WRITE) }
        return fd
    }

    private static func decode(
        _ bytes: UnsafeRawBufferPointer, _ fds: consuming FDList, _ kind: UInt8, cut: Bool
    ) {
        let received = ReceivedMessage(bytes: bytes, fds: fds, bytesWereCut: cut)
        do throws(DecodeFailure) {
            switch kind {
            case 0: read(try IncomingMessage(decoding: received, as: .request))
            case 1: read(try IncomingMessage(decoding: received, as: .reply))
            default: readIoctl(try IncomingDRMMessage(decoding: received))
            }
        } catch {
            guard error.error.code.rawValue > 0 else {
                fuzzFailure("a message was refused with errno \(error.error.code.rawValue)")
            }
            _ = ReplyBuilder.failure(error)
        }
    }

    /// Reads the body as a session does: a struct, the arrays that it counts, the end.
    private static func read(_ message: consuming IncomingMessage) {
        let shapes = message.opcode.shapes
        var reader = message.reader
        var sum: UInt64 = 0
        do throws(WireError) {
            switch message.opcode {
            case .vmBind:
                let bind = try reader.read(gpuvm_vm_bind.self)
                for operation in try reader.readArray(
                    gpuvm_bind_op.self, count: bind.op_count, limit: 4096, "operations")
                { sum &+= operation.address }
                for count in [bind.wait_count, bind.signal_count] {
                    for sync in try reader.readArray(
                        gpuvm_sync.self, count: count, limit: 256, "syncs")
                    { sum &+= sync.point }
                }
            case .exec:
                let exec = try reader.read(gpuvm_exec.self)
                for batch in try reader.readArray(
                    gpuvm_batch.self, count: exec.batch_count, limit: 4096, "batches")
                { sum &+= batch.address }
            case .hello: _ = try WireName.decode(try reader.read(gpuvm_hello.self).name)
            case .syncobjSignal:
                let array = try reader.read(gpuvm_syncobj_array.self)
                for sync in try reader.readArray(
                    gpuvm_sync.self, count: array.count, limit: 256, "syncs")
                { sum &+= sync.point }
            case .status:
                let error = try reader.read(gpuvm_error_reply.self)
                sum = UInt64(try reader.readText(count: error.text_bytes, limit: 4096).count)
            default: _ = try reader.readBytes(count: shapes.request.fixedBytes)
            }
            try reader.expectEnd()
        } catch {
            guard error.code.rawValue > 0 else { fuzzFailure("a body was refused without errno") }
        }
        withExtendedLifetime(sum) {}
        guard reader.offset >= 0, reader.remaining >= 0 else {
            fuzzFailure("a reader is \(reader.remaining) bytes before the end")
        }
        _ = message.fds.take(0)
    }

    private static func readIoctl(_ message: consuming IncomingDRMMessage) {
        let fds = message.takeFDs()
        guard message.opcode == .ioctl else { return }
        do throws(WireError) {
            let call = try IoctlMessage.decode(message, fds)
            let bytes = call.blocks.reduce(0) { $0 + $1.contents.count }
            guard bytes <= Int(GPUVM_MAX_EXTERNAL), call.argument.count == call.request.size else {
                fuzzFailure("an ioctl of \(bytes) bytes, \(call.argument.count) of them argument")
            }
            let reply = IoctlReply(
                result: 0, argument: call.argument,
                outputs: call.blocks.filter(\.isOutput).map(\.contents))
            _ = try IoctlMessage.encode(reply, serial: message.serial)
        } catch {
            guard error.code.rawValue > 0 else { fuzzFailure("an ioctl was refused without errno") }
        }
    }
}
