import Glibc
import Testing

/// A directory of its own for a test, removed with what a daemon leaves in it.
struct TemporaryDirectory: ~Copyable {
    let path: String

    init() throws {
        var template = Array("/tmp/gpuvmd-test-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        let bytes = template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        path = String(decoding: bytes, as: UTF8.self)
    }

    deinit {
        for name in entries { unlink("\(path)/\(name)") }
        for name in entries { rmdir("\(path)/\(name)") }
        rmdir(path)
    }

    /// What lies in it, sorted.
    var entries: [String] {
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

    func write(_ name: String, _ text: String) throws -> String {
        let file = "\(path)/\(name)"
        let fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        try #require(fd >= 0)
        defer { close(fd) }
        try #require(Glibc.write(fd, text, text.utf8.count) == text.utf8.count)
        return file
    }
}
