import Glibc
import Testing

@testable import gpuvmctl

/// gpuvmctl lies beside the tests.
func gpuvmctlPath() throws -> String {
    let own = try #require(ChildProcess.ownPath())
    return String(own[...(try #require(own.lastIndex(of: "/")))] + "gpuvmctl")
}

/// Runs gpuvmctl and collects what it prints.
func gpuvmctl(_ arguments: [String]) throws -> (ChildProcess.Exit, String) {
    try output(of: try gpuvmctlPath(), arguments)
}

/// Runs a program and collects what it prints.
func output(
    of program: String, _ arguments: [String]
) throws -> (ChildProcess.Exit, String) {
    var ends: [Int32] = [-1, -1]
    try #require(pipe(&ends) == 0)
    defer { close(ends[0]) }
    let child = try ChildProcess(program, arguments, fds: [(STDOUT_FILENO, ends[1])])
    close(ends[1])
    var output: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
        let count = read(ends[0], &buffer, buffer.count)
        if count <= 0 { break }
        output += buffer.prefix(count)
    }
    return (child.wait(), String(decoding: output, as: UTF8.self))
}
