import Glibc
import Testing

/// The text of a file.
func contents(of path: String) throws -> String {
    let fd = open(path, O_RDONLY | O_CLOEXEC)
    try #require(fd >= 0, "\(path)")
    defer { close(fd) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
        let count = read(fd, &buffer, buffer.count)
        try #require(count >= 0)
        if count == 0 { return String(decoding: bytes, as: UTF8.self) }
        bytes += buffer[..<count]
    }
}

/// `Config/gpuvmd.yaml` of this checkout.
let committedConfigurationPath: String = {
    let components = #filePath.split(separator: "/").dropLast(4)
    return "/" + components.joined(separator: "/") + "/Config/gpuvmd.yaml"
}()

/// Whether `fd` becomes readable, or its stream ends, within `milliseconds`.
func becomesReadable(_ fd: Int32, milliseconds: Int32 = 10_000) -> Bool {
    var descriptor = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
    return poll(&descriptor, 1, milliseconds) == 1
}
