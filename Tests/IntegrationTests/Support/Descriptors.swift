import CPlatform
import CWireProtocol
import Glibc
import Testing
import WireProtocol

/// Descriptors of all kinds, open as long as this lives.
final class Descriptors: Sendable {
    let pipe, null, directory, socket, eventfd, file, sharedMemoryFile: Int32
    /// Memfds of 64 KiB: as made, sealed against writing (now, or in the future), read-only.
    let memfd, unwritable, futureUnwritable, readOnly: Int32
    private let pipeEnd: Int32

    init() throws {
        var ends: [Int32] = [-1, -1]
        try #require(Glibc.pipe(&ends) == 0)
        (pipe, pipeEnd) = (ends[0], ends[1])
        null = open("/dev/null", O_RDWR | O_CLOEXEC)
        directory = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        eventfd = gpuvm_eventfd_create(0)
        file = Self.unlinkedFile("/tmp")
        sharedMemoryFile = Self.unlinkedFile("/dev/shm")
        memfd = gpuvm_memfd_create("plain", 1 << 16)
        unwritable = gpuvm_memfd_create("sealed", 1 << 16)
        _ = gpuvm_add_seals(unwritable, GPUVM_SEAL_WRITE | GPUVM_SEAL_SHRINK)
        futureUnwritable = gpuvm_memfd_create("future", 1 << 16)
        _ = gpuvm_add_seals(futureUnwritable, GPUVM_SEAL_FUTURE_WRITE)
        readOnly = open("/proc/self/fd/\(memfd)", O_RDONLY | O_CLOEXEC)
        for fd in all { try #require(fd >= 0) }
    }

    private var all: [Int32] {
        [
            pipe, null, directory, socket, eventfd, file, sharedMemoryFile, memfd, unwritable,
            futureUnwritable, readOnly, pipeEnd,
        ]
    }

    deinit { for fd in all { close(fd) } }

    private static func unlinkedFile(_ directory: String) -> Int32 {
        var template = Array("\(directory)/gpuvmd-it-XXXXXX".utf8CString)
        let fd = mkstemp(&template)
        if fd >= 0 {
            unlink(template)
            _ = ftruncate(fd, 1 << 16)
        }
        return fd
    }

    /// A memfd with `contents` and seals, as an external message has one.
    static func memfd(_ contents: [UInt8], seals: UInt32) throws -> OwnedFD {
        let fd = try OwnedFD.memfd(name: "external", bytes: UInt64(contents.count))
        try #require(pwrite(fd.rawValue, contents, contents.count, 0) == contents.count)
        if seals != 0 { try #require(gpuvm_add_seals(fd.rawValue, seals) == 0) }
        return fd
    }

    /// The seals that an external message needs.
    static let externalSeals = GPUVM_SEAL_SHRINK | GPUVM_SEAL_WRITE
}
