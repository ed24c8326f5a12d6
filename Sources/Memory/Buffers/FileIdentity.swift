import Glibc

/// What a file is, whatever its descriptor's number: the device and inode of fstat(2).
///
/// An inode is not used again while anybody holds the file, so that a live buffer's identity is its
/// own.
public struct FileIdentity: Hashable, Sendable {
    /// st_dev.
    public let device: UInt64
    /// st_ino.
    public let inode: UInt64

    /// Asks the kernel about `descriptor`.
    ///
    /// - Throws: ``MemoryError/system(errno:call:)``: EBADF.
    public init(of descriptor: Int32) throws(MemoryError) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw .system(errno: errno, call: "fstat")
        }
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
    }
}
