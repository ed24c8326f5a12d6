import Glibc

/// Whether a descriptor leads to systemd's journal.
enum JournalStream {
    /// True if JOURNAL_STREAM, which is `device:inode` in decimal, names what `fd` refers to
    /// (systemd.exec(5)): the variable outlives a redirection, the identity does not.
    static func leads(_ fd: Int32, environment: [String: String]) -> Bool {
        guard let stream = environment["JOURNAL_STREAM"] else { return false }
        let parts = stream.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let device = UInt64(parts[0]), let inode = UInt64(parts[1]) else {
            return false
        }
        var status = stat()
        guard fstat(fd, &status) == 0 else { return false }
        return UInt64(status.st_dev) == device && UInt64(status.st_ino) == inode
    }
}
