import CPlatform
import CWireProtocol
import Glibc
import SystemPackage

/// The contents of a message: in the receive buffer, or a copy of a sealed memfd.
struct MessageBody: ~Copyable {
    let bytes: UnsafeRawBufferPointer
    private let copy: UnsafeMutableRawPointer?

    /// Finds the contents of the message whose bytes are `message`, taking the memfd from `fds`.
    init(
        _ header: gpuvm_header, message: UnsafeRawBufferPointer, fds: inout FDList
    ) throws(WireError) {
        let inline = UnsafeRawBufferPointer(
            rebasing: message[MemoryLayout<gpuvm_header>.size...])
        guard UInt32(header.flags) & GPUVM_HEADER_EXTERNAL != 0 else {
            guard Int(header.length) == message.count else {
                throw .invalid(
                    "the header says \(header.length) bytes and the message has \(message.count)")
            }
            bytes = inline
            copy = nil
            return
        }
        guard inline.isEmpty else {
            throw .invalid("an external message has \(inline.count) bytes after its header")
        }
        guard let fd = fds.takeFirst() else {
            throw .invalid("an external message carries no memfd")
        }
        guard header.length > 0, header.length <= GPUVM_MAX_EXTERNAL else {
            throw WireError(
                .messageTooLong,
                """
                an external message of \(header.length) bytes: 1 to \(GPUVM_MAX_EXTERNAL) are \
                allowed
                """)
        }
        try Self.checkMemfd(fd, bytes: header.length)
        let memory = try Self.read(fd, bytes: Int(header.length))
        copy = memory
        bytes = UnsafeRawBufferPointer(start: memory, count: Int(header.length))
    }

    deinit {
        free(copy)
    }

    /// The sender can neither change nor shrink a memfd with these seals.
    private static func checkMemfd(_ fd: borrowing OwnedFD, bytes: UInt32) throws(WireError) {
        let needed = Int32(GPUVM_SEAL_SHRINK | GPUVM_SEAL_WRITE)
        let seals = gpuvm_get_seals(fd.rawValue)
        guard seals >= 0, gpuvm_is_tmpfs(fd.rawValue) == 1 else {
            throw .invalid("the descriptor of an external message is no memfd")
        }
        guard seals & needed == needed else {
            throw .invalid(
                """
                the memfd of an external message has the seals 0x\(String(seals, radix: 16)): \
                F_SEAL_SHRINK and F_SEAL_WRITE are required
                """)
        }
        var status = stat()
        guard fstat(fd.rawValue, &status) == 0, status.st_size >= off_t(bytes) else {
            throw .invalid(
                "the memfd of an external message is shorter than the announced \(bytes) bytes")
        }
    }

    private static func read(
        _ fd: borrowing OwnedFD, bytes: Int
    ) throws(WireError) -> UnsafeMutableRawPointer {
        guard let memory = malloc(bytes) else {
            throw WireError(.noMemory, "no memory for an external message of \(bytes) bytes")
        }
        var done = 0
        while done < bytes {
            let count = pread(fd.rawValue, memory + done, bytes - done, off_t(done))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                free(memory)
                throw .invalid("the memfd of an external message cannot be read")
            }
            done += count
        }
        return memory
    }
}
