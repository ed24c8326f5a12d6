import CPlatform
import CWireProtocol
import Glibc
import SystemPackage

/// A request or a reply ready to be sent; a long one has been moved into a sealed memfd.
///
/// Threading: one thread at a time.
public struct OutgoingMessage: ~Copyable, Sendable {
    /// The bytes that go through the socket.
    public let bytes: [UInt8]
    private let fds: FDList
    /// Keeps a borrowed descriptor open.
    private let owner: (any AnyObject & Sendable)?

    /// Completes a message.
    ///
    /// - Parameters:
    ///   - writer: A header, whose length and flags are filled in here, and the contents.
    ///   - fds: The descriptors of the opcode.
    ///   - owner: Lives as long as the message.
    /// - Throws: EMSGSIZE above GPUVM_MAX_EXTERNAL bytes; EMFILE, ENOMEM if there is no memfd.
    init(
        _ writer: consuming MessageWriter, fds: consuming FDList,
        owner: (any AnyObject & Sendable)? = nil
    ) throws(WireError) {
        self.owner = owner
        let headerBytes = MemoryLayout<gpuvm_header>.size
        let total = writer.bytes.count
        var header = writer.bytes.withUnsafeBytes { $0.loadUnaligned(as: gpuvm_header.self) }
        guard total > Int(GPUVM_MAX_INLINE) else {
            header.length = UInt32(total)
            writer.replace(at: 0, with: header)
            bytes = writer.bytes
            self.fds = fds
            return
        }
        let contents = total - headerBytes
        guard contents <= Int(GPUVM_MAX_EXTERNAL), !fds.isFull else {
            throw WireError(
                .messageTooLong,
                "a message of \(contents) bytes: at most \(GPUVM_MAX_EXTERNAL) can be sent")
        }
        let memfd = try Self.sealedMemfd(writer.bytes[headerBytes...])
        fds.prepend(memfd)
        header.length = UInt32(contents)
        header.flags |= UInt16(GPUVM_HEADER_EXTERNAL)
        var short = MessageWriter(capacity: headerBytes)
        short.append(header)
        bytes = short.bytes
        self.fds = fds
    }

    /// Completes a message that is known to be short.
    ///
    /// - Precondition: It has at most GPUVM_MAX_INLINE bytes.
    init(
        short writer: consuming MessageWriter, fds: consuming FDList = FDList(),
        owner: (any AnyObject & Sendable)? = nil
    ) {
        precondition(writer.bytes.count <= Int(GPUVM_MAX_INLINE), "a long message goes by memfd")
        writer.replace(at: 0, with: UInt32(writer.bytes.count))
        bytes = writer.bytes
        self.fds = fds
        self.owner = owner
    }

    /// Sends the message.
    ///
    /// - Returns: False when the peer's buffer is full and `blocking` is false.
    /// - Throws: As ``UnixSocket/send(_:fds:blocking:)``.
    public borrowing func send(
        on socket: UnixSocket, blocking: Bool
    ) throws(WireError) -> Bool {
        // The closure cannot throw a typed error through withUnsafeBytes.
        let result: Result<Bool, WireError> = bytes.withUnsafeBytes { raw in
            do throws(WireError) {
                return .success(try socket.send(raw, fds: fds, blocking: blocking))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private static func sealedMemfd(_ contents: ArraySlice<UInt8>) throws(WireError) -> OwnedFD {
        let fd = try OwnedFD.memfd(name: "gpuvm-message", bytes: UInt64(contents.count))
        let written = contents.withUnsafeBytes { raw in
            var done = 0
            while done < raw.count {
                let count = pwrite(
                    fd.rawValue, raw.baseAddress.unsafelyUnwrapped + done, raw.count - done,
                    off_t(done))
                if count < 0 && errno == EINTR { continue }
                if count <= 0 { break }
                done += count
            }
            return done
        }
        guard written == contents.count else {
            throw WireError(.noMemory, "the memfd of a message cannot be written")
        }
        let seals = GPUVM_SEAL_SHRINK | GPUVM_SEAL_GROW | GPUVM_SEAL_WRITE | GPUVM_SEAL_SEAL
        let result = gpuvm_add_seals(fd.rawValue, seals)
        guard result == 0 else {
            throw WireError(Errno(rawValue: -result), "the memfd of a message cannot be sealed")
        }
        return fd
    }
}
