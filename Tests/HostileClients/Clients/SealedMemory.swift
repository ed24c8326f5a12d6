import CPlatform
import Glibc

/// A memfd with the seals that an external message needs.
struct SealedMemory: ~Copyable {
    let fd: Int32

    init(_ bytes: [UInt8]) throws {
        fd = gpuvm_memfd_create("message", UInt64(bytes.count))
        guard fd >= 0 else { throw Failure("memfd_create: errno \(-fd)") }
        let seals = GPUVM_SEAL_SHRINK | GPUVM_SEAL_GROW | GPUVM_SEAL_WRITE
        guard pwrite(fd, bytes, bytes.count, 0) == bytes.count,
            gpuvm_add_seals(fd, seals) == 0
        else { throw Failure.system("a message cannot be sealed") }
    }

    deinit { close(fd) }
}
