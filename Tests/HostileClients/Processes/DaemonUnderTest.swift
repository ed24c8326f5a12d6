import GPUVMClient
import Glibc
import TestSupport
import WireProtocol

/// `gpuvmd` as a process, on a socket that every user may write to.
final class DaemonUnderTest {
    let directory: TemporaryDirectory
    let process: Child
    let log: String
    var socket: String { "\(directory.path)/s" }

    /// - Parameters:
    ///   - path: Of the program.
    ///   - settings: Of the configuration, by variable.
    ///   - limit: A shell's command before it starts, as "ulimit -n 100".
    ///   - log: Where it writes its log; nil: a file of its own directory.
    init(
        _ path: String, _ settings: [String: String] = [:], limit: String? = nil,
        log: String? = nil
    ) throws {
        directory = try TemporaryDirectory()
        // Others have to reach the socket.
        chmod(directory.path, 0o755)
        self.log = log ?? "\(directory.path)/log"
        let all = [
            "GPUVM_SOCKET_MODE": "0666", "GPUVM_LIMITS_MAX_CLIENTS": "256",
            "GPUVM_LIMITS_MAX_CLIENTS_PER_USER": "200", "GPUVM_DEVICE_VRAM": "256MiB",
            "GPUVM_DEVICE_SYSTEM_MEMORY": "1GiB",
        ].merging(settings) { $1 }
        var ends: [Int32] = [-1, -1]
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, type, 0, &ends) == 0 else { throw Failure.system("socketpair") }
        let reading = OwnedFD(ends[0])
        do {
            let writing = OwnedFD(ends[1])
            let arguments = [path, "--socket", "\(directory.path)/s", "--ready-fd", "9"]
            let words = limit.map {
                ["/bin/sh", "-c", "\($0); exec \"$0\" \"$@\""] + arguments
            }
            process = try Child(
                words ?? arguments, environment: all, passing: writing.rawValue,
                output: self.log)
        }
        var byte: UInt8 = 0
        guard Glibc.read(reading.rawValue, &byte, 1) == 1 else {
            throw Failure("the daemon does not start; its log:\n\(Self.contents(self.log))")
        }
    }

    deinit {
        process.signal(SIGTERM)
        if process.wait(seconds: 20) == nil { process.kill() }
    }

    var isAlive: Bool { process.isAlive }

    /// What it is made of now.
    var figures: ProcessFigures { ProcessFigures(process.pid) }

    /// A whole file, as far as it is text.
    static func contents(_ path: String) -> String {
        guard let file = fopen(path, "r") else { return "" }
        defer { fclose(file) }
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while case let count = fread(&buffer, 1, buffer.count, file), count > 0 {
            text += buffer[..<count]
        }
        return String(decoding: text, as: UTF8.self)
    }
}
