import Glibc
import Logging
import Testing
import WireProtocol

@testable import GPUVMDaemon

/// A log that ends in a pipe.
final class CapturedLog {
    private let reading: OwnedFD
    private let writing: OwnedFD

    init() throws {
        var ends: [Int32] = [-1, -1]
        try #require(pipe(&ends) == 0)
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
        reading = OwnedFD(ends[0])
        writing = OwnedFD(ends[1])
    }

    var fd: Int32 { writing.rawValue }

    func logger(level: Logger.Level = .debug) -> Logger {
        let sink = LogSink(
            fd: fd, format: .plain, clientLinesPerSecond: 1000, environment: [:])
        return Logger(label: "test") { TextLogHandler(label: $0, level: level, sink: sink) }
    }

    /// The lines written since the last call.
    func lines() -> [String] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(reading.rawValue, &buffer, buffer.count)
            guard count > 0 else { break }
            bytes += buffer[..<count]
        }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    }
}
