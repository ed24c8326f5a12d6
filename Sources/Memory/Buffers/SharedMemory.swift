import CPlatform
import Glibc

// @unchecked: descriptor and pointer never change.
/// A memfd that cannot shrink, mapped for as long as this lives: what backs a buffer.
///
/// Threading: immutable after creation. The bytes are shared with clients, who may change them at
/// any time: nothing read from here is trusted or read twice.
public final class SharedMemory: @unchecked Sendable {
    /// The memfd; owned, CLOEXEC.
    public let descriptor: Int32
    /// Size in bytes, a multiple of the page size.
    public let bytes: UInt64
    /// Where the daemon maps it.
    public let host: UnsafeMutableRawPointer
    /// Which file it is.
    public let identity: FileIdentity

    /// Makes a memfd of `bytes` zero bytes, sealed against resizing and further seals.
    ///
    /// - Throws: ``MemoryError/system(errno:call:)``: EMFILE, ENOMEM.
    public convenience init(name: String, bytes: UInt64) throws(MemoryError) {
        let descriptor = gpuvm_memfd_create("gpuvm:\(name)", bytes)
        guard descriptor >= 0 else {
            throw .system(errno: -descriptor, call: "memfd_create")
        }
        try self.init(
            adopting: descriptor, bytes: bytes,
            seals: GPUVM_SEAL_SHRINK | GPUVM_SEAL_GROW | GPUVM_SEAL_SEAL)
    }

    /// Takes over a client's memfd, which must be tmpfs, sealable or sealed against shrinking,
    /// writable, and at least `bytes` long.
    ///
    /// `descriptor` belongs to this object from here on, and is closed if this throws.
    ///
    /// - Throws: ``MemoryError/notShareable(reason:)``, ``MemoryError/tooShort(announced:actual:)``
    ///   or ``MemoryError/system(errno:call:)``.
    public convenience init(importing descriptor: Int32, bytes: UInt64) throws(MemoryError) {
        do throws(MemoryError) {
            try Self.check(descriptor, holds: bytes)
        } catch {
            close(descriptor)
            throw error
        }
        try self.init(adopting: descriptor, bytes: bytes, seals: GPUVM_SEAL_SHRINK)
    }

    private init(
        adopting descriptor: Int32, bytes: UInt64, seals: UInt32
    ) throws(MemoryError) {
        var succeeded = false
        defer { if !succeeded { close(descriptor) } }
        let present = gpuvm_get_seals(descriptor)
        if present < 0 || UInt32(present) & seals != seals {
            let error = gpuvm_add_seals(descriptor, seals)
            guard error == 0 else { throw .notShareable(reason: "it cannot be sealed") }
        }
        // Only now can the size no longer change under the check.
        try Self.check(descriptor, holds: bytes)
        let identity = try FileIdentity(of: descriptor)
        var error: Int32 = 0
        guard let host = gpuvm_map_shared(descriptor, 0, Int(bytes), 1, &error) else {
            throw .system(errno: -error, call: "mmap")
        }
        self.descriptor = descriptor
        self.bytes = bytes
        self.host = host
        self.identity = identity
        succeeded = true
    }

    deinit {
        gpuvm_unmap(host, Int(bytes))
        close(descriptor)
    }

    private static func check(_ descriptor: Int32, holds bytes: UInt64) throws(MemoryError) {
        guard gpuvm_is_tmpfs(descriptor) == 1 else {
            throw .notShareable(reason: "it is no memfd on tmpfs")
        }
        guard gpuvm_get_seals(descriptor) >= 0 else {
            throw .notShareable(reason: "it has no seals, so it is no memfd")
        }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw .system(errno: errno, call: "fstat")
        }
        guard status.st_size >= 0, UInt64(status.st_size) >= bytes else {
            throw .tooShort(announced: bytes, actual: UInt64(max(0, status.st_size)))
        }
    }
}
