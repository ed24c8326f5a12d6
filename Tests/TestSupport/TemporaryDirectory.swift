import Glibc

/// A directory of its own for a test, removed with what lies in it.
public final class TemporaryDirectory: Sendable {
    /// Why there is none.
    public struct Failure: Error {
        /// What the system said.
        public let errno: Int32
    }

    /// Where it is, absolute.
    public let path: String

    /// Makes it; throws if the system does not let it.
    public init() throws {
        var template = Array("/tmp/gpuvmd-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure(errno: errno) }
        let bytes = template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        path = String(decoding: bytes, as: UTF8.self)
    }

    deinit { Self.remove(path) }

    /// What lies in it, sorted.
    public var entries: [String] { Self.entries(of: path) }

    /// Makes a file and returns its path.
    public func write(_ name: String, _ text: String) throws -> String {
        let file = "\(path)/\(name)"
        let fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard fd >= 0 else { throw Failure(errno: errno) }
        defer { close(fd) }
        guard Glibc.write(fd, text, text.utf8.count) == text.utf8.count else {
            throw Failure(errno: errno)
        }
        return file
    }

    private static func entries(of path: String) -> [String] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// A daemon that was killed leaves its device tree behind.
    private static func remove(_ path: String) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            unlink(path)
            return
        }
        for name in entries(of: path) { remove("\(path)/\(name)") }
        rmdir(path)
    }
}
