import Device
import Fencing
import Foundation
import Glibc
import SystemPackage
import TestSupport
import Testing
import WireProtocol

@testable import GPUVMDaemon

/// Traces: bounded, off the data path, and honest about what is not in them.
@Suite("Traces", .timeLimit(.minutes(1)))
struct TraceTests {
    private func event(_ number: UInt32) -> TraceEvent {
        .open(client: number, process: 1, name: "p", UInt64(number))
    }

    private func objects(_ text: String) throws -> [[String: Any]] {
        try text.split(separator: "\n").map {
            try #require(
                try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
    }

    @Test("Events are written in order, between a first line and a last one")
    func order() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/trace"
        let trace = try DRMTrace(path: path, device: "tu104")
        for number in 0..<1000 { trace.note(event(UInt32(number))) }
        #expect(trace.finish() == DRMTrace.Result(written: 1000, dropped: 0, error: nil))
        let lines = try objects(try String(contentsOfFile: path, encoding: .utf8))
        #expect(lines.count == 1002)
        #expect(lines[0]["schema_version"] as? Int == 1)
        #expect(lines[1...1000].compactMap { $0["file"] as? Int } == Array(0..<1000))
        #expect(lines[1001]["event"] as? String == "end")
        #expect(lines[1001]["events"] as? Int == 1000)
    }

    @Test("A disk that takes nothing holds nobody up: what has no room is counted where it was")
    func slowDisk() throws {
        var ends: [Int32] = [-1, -1]
        try #require(pipe(&ends) == 0)
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer { close(ends[0]) }
        // Less than the pipe takes besides: the writer is stuck in the middle of a line.
        let setPipeSize: Int32 = 1031  // F_SETPIPE_SZ of linux/fcntl.h
        _ = fcntl(ends[1], setPipeSize, 4096)
        let capacity = 100
        let trace = try DRMTrace(
            descriptor: ends[1], device: "tu104", events: capacity, bytes: 1 << 20)
        // About 70 bytes a line: 4096 of them fit into no pipe of one page.
        let total = 4096
        for number in 0..<total { trace.note(event(UInt32(number))) }

        // Who reads now gets all that there was room for, and how many there are in between.
        let end = ends[0]
        let reader = try #require(ReadAll.start(end))
        let result = trace.finish()
        let lines = try objects(reader.text())
        let kept = lines.filter { $0["event"] as? String == "open" }
        let dropped = lines.filter { $0["event"] as? String == "dropped" }
            .compactMap { $0["events"] as? Int }
        #expect(result.error == nil)
        #expect(Int(result.written) == kept.count)
        #expect(Int(result.dropped) == dropped.reduce(0, +))
        #expect(kept.count + dropped.reduce(0, +) == total)
        #expect(dropped.count >= 1 && dropped.allSatisfy { $0 > 0 })
        let numbers = kept.compactMap { $0["file"] as? Int }
        #expect(numbers == numbers.sorted())
        // A line about drops says how many are missing at its place.
        var next = 0
        for line in lines {
            switch line["event"] as? String {
            case "open":
                #expect(line["file"] as? Int == next)
                next += 1
            case "dropped": next += line["events"] as? Int ?? 0
            default: break
            }
        }
        #expect(next == total)
        #expect(lines.last?["dropped"] as? Int == dropped.reduce(0, +))
    }

    @Test("The bytes that wait are limited, too")
    func bytes() throws {
        var ends: [Int32] = [-1, -1]
        try #require(pipe(&ends) == 0)
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        let trace = try DRMTrace(
            descriptor: ends[1], device: "tu104", events: 1000, bytes: 10_000)
        let call = IoctlCall(
            request: IoctlRequest(0xc028_6451), argument: IoctlBytes(zeros: 40),
            blocks: [
                IoctlBlock(
                    parent: 0, pointerOffset: 32, isOutput: false,
                    contents: IoctlBytes(zeros: 16_000))
            ])
        trace.note(
            .ioctl(1, stream: 1, call, IoctlBytes(zeros: 40), 1, 2, result: 0))
        trace.note(event(5))
        let reader = try #require(ReadAll.start(ends[0]))
        defer { close(ends[0]) }
        #expect(trace.finish() == DRMTrace.Result(written: 1, dropped: 1, error: nil))
        let names = try objects(reader.text()).compactMap { $0["event"] as? String }
        #expect(names == ["start", "dropped", "open", "end"])
    }

    @Test("A file that cannot be made, or takes no first line, is an error at once")
    func unwritable() throws {
        #expect(throws: Errno.noSuchFileOrDirectory) {
            try DRMTrace(path: "/none/trace", device: "tu104")
        }
        #expect(throws: Errno.noSpace) {
            try DRMTrace(path: "/dev/full", device: "tu104")
        }
    }

    @Test("A reader that goes away is told, and the events that it did not get")
    func brokenPipe() throws {
        signal(SIGPIPE, SIG_IGN)
        // Not a pipe: a process that another test starts just now could hold its other end.
        let (own, theirs) = try UnixSocket.pair()
        let trace = try DRMTrace(
            descriptor: dup(own.rawValue), device: "tu104", events: 100,
            bytes: 1 << 20)
        theirs.shutdown()
        for number in 0..<10 { trace.note(event(UInt32(number))) }
        let result = trace.finish()
        #expect(result.error == .brokenPipe)
        #expect(result.written == 0 && result.dropped == 10)
    }

    @Test("A name from a program cannot break a line or steer a terminal")
    func names() throws {
        let line = TraceText.line(
            .open(client: 1, process: 2, name: "a\"b\\c\n\u{1b}[31m\u{9b}\u{e9}", 3))
        #expect(
            String(decoding: line, as: UTF8.self) == """
                {"event":"open","time_ns":3,"file":1,"pid":2,"name":"a\\"b\\\\c\\u000a\\u001b[31m\
                \\u009b\u{e9}"}

                """)
    }
}

/// Reads a descriptor to its end on a thread of its own.
private final class ReadAll: Sendable {
    private let bytes = Guarded<[UInt8]>(.leaf, [])
    private let thread = Guarded<RuntimeThread?>(.leaf, nil)

    static func start(_ descriptor: Int32) -> ReadAll? {
        let reader = ReadAll()
        let thread = RuntimeThread.start(name: "read-all") { [reader] in
            var buffer = [UInt8](repeating: 0, count: 4096)
            while true {
                let count = read(descriptor, &buffer, buffer.count)
                guard count > 0 else { return }
                let part = buffer.prefix(count)
                reader.bytes.withLock { $0 += part }
            }
        }
        guard let thread else { return nil }
        reader.thread.withLock { $0 = thread }
        return reader
    }

    /// All that came; waits for the end.
    func text() -> String {
        thread.withLock { thread in exchange(&thread, with: nil) }?.join()
        return String(decoding: bytes.withLock { $0 }, as: UTF8.self)
    }
}
