import Glibc
import SystemPackage
import WireProtocol

/// A file that a run writes, made before the program starts: who named one that cannot be made hears
/// of it first.
final class RunOutput {
    let path: String
    let descriptor: Int32

    /// Makes the file; `appends` keeps what is in it.
    ///
    /// - Throws: What open(2) says.
    init(_ path: String, appends: Bool = false) throws(WireError) {
        let flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | (appends ? O_APPEND : O_TRUNC)
        // A FIFO would be waited for until somebody reads it.
        let opened = open(path, flags | O_NONBLOCK, 0o644)
        guard opened >= 0 else {
            let error = Errno(rawValue: errno)
            throw WireError(error, "\(path) cannot be written\(Self.explanation(error, path))")
        }
        _ = fcntl(opened, F_SETFL, flags)
        self.path = path
        descriptor = opened
    }

    deinit { close(descriptor) }

    /// What an errno of open(2) does not say clearly enough.
    static func explanation(_ error: Errno, _ path: String) -> String {
        var status = stat()
        guard error.rawValue == ENXIO, stat(path, &status) == 0,
            status.st_mode & S_IFMT == S_IFIFO
        else { return "" }
        return ", it is a FIFO that nobody reads"
    }

    /// Writes all of a text.
    ///
    /// - Throws: What write(2) says.
    func write(_ text: String) throws(WireError) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 {
                if errno == EINTR { continue }
                throw WireError(Errno(rawValue: errno), "\(path) cannot be written")
            }
            rest = rest.dropFirst(count)
        }
    }
}
