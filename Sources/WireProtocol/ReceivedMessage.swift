import CWireProtocol

// @unchecked: the memory has one user at a time, the thread that receives.
/// The memory that a receiver uses for one message after the other.
///
/// Threading: one thread at a time.
public struct MessageBuffer: ~Copyable, @unchecked Sendable {
    let bytes: UnsafeMutableRawBufferPointer

    /// Allocates room for the longest message (GPUVM_MAX_INLINE bytes).
    public init() {
        bytes = .allocate(byteCount: Int(GPUVM_MAX_INLINE), alignment: 64)
    }

    deinit {
        bytes.deallocate()
    }
}

/// What one recvmsg(2) brought, not yet looked at.
public struct ReceivedMessage: ~Copyable {
    /// The bytes, which lie in the receiver's ``MessageBuffer``.
    public let bytes: UnsafeRawBufferPointer
    /// The descriptors that came with them.
    public var fds: FDList
    /// Whether the message was longer than the buffer.
    public let bytesWereCut: Bool
    /// Whether it carried more descriptors than a message may.
    public let fdsWereCut: Bool

    /// How long it is, with what lies in its memfd, if its header is to be believed: at least the
    /// bytes that came, at most what a message may have.
    public var announcedBytes: Int {
        guard bytes.count >= MemoryLayout<gpuvm_header>.size, fds.count > 0 else {
            return bytes.count
        }
        let header = bytes.loadUnaligned(as: gpuvm_header.self)
        guard UInt32(header.flags) & GPUVM_HEADER_EXTERNAL != 0 else { return bytes.count }
        return max(bytes.count, min(Int(header.length), Int(GPUVM_MAX_EXTERNAL)))
    }

    /// Describes a message by hand, for tests and for transports other than a socket.
    public init(
        bytes: UnsafeRawBufferPointer, fds: consuming FDList, bytesWereCut: Bool = false,
        fdsWereCut: Bool = false
    ) {
        self.bytes = bytes
        self.fds = fds
        self.bytesWereCut = bytesWereCut
        self.fdsWereCut = fdsWereCut
    }
}
