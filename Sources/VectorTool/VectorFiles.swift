import Glibc

/// Why vectors could not be read.
public enum VectorError: Error, Equatable, CustomStringConvertible {
    /// A file or folder cannot be read.
    case unreadable(path: String, errno: Int32)
    /// There is no vector file in what was given.
    case noVectors

    /// The path and the reason.
    public var description: String {
        switch self {
        case .unreadable(let path, let errno): "\(path): \(String(cString: strerror(errno)))"
        case .noVectors: "no vector files (*.jsonl) found"
        }
    }
}

/// The files behind paths, and their lines.
enum VectorFiles {
    /// Files as they are; of folders all `*.jsonl` in them and below, sorted.
    static func expand(_ paths: [String]) throws(VectorError) -> [String] {
        var files: [String] = []
        for path in paths {
            var info = stat()
            guard stat(path, &info) == 0 else { throw .unreadable(path: path, errno: errno) }
            if info.st_mode & S_IFMT == S_IFDIR {
                files += try list(path)
            } else {
                files.append(path)
            }
        }
        guard !files.isEmpty else { throw .noVectors }
        return files
    }

    private static func list(_ folder: String) throws(VectorError) -> [String] {
        guard let stream = opendir(folder) else {
            throw .unreadable(path: folder, errno: errno)
        }
        defer { closedir(stream) }
        var files: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            let path = folder + "/" + name
            var info = stat()
            guard !name.hasPrefix("."), lstat(path, &info) == 0 else { continue }
            if info.st_mode & S_IFMT == S_IFDIR {
                files += try list(path)
            } else if name.hasSuffix(".jsonl") {
                files.append(path)
            }
        }
        return files.sorted()
    }

    /// The lines of a file that are not empty.
    static func lines(of path: String) throws(VectorError) -> [String] {
        guard let file = fopen(path, "re") else { throw .unreadable(path: path, errno: errno) }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&chunk, 1, chunk.count, file)
            bytes += chunk[..<count]
            if count < chunk.count { break }
        }
        guard ferror(file) == 0 else { throw .unreadable(path: path, errno: EIO) }
        return bytes.split(separator: 10).map { String(decoding: $0, as: UTF8.self) }
    }
}
