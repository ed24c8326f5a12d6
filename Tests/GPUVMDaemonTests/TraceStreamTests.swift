import Fencing
import Foundation
import Glibc
import SystemPackage
import TestSupport
import Testing

@testable import GPUVMDaemon

/// Where traces go: a reader who stalls holds nobody up, a disk loses nothing.
@Suite("Traces and who reads them", .timeLimit(.minutes(1)))
struct TraceStreamTests {
    private func event(_ number: UInt32) -> TraceEvent {
        .open(client: number, process: 1, name: "p", UInt64(number))
    }

    private func objects(_ text: String) throws -> [[String: Any]] {
        try text.split(separator: "\n").map {
            try #require(
                try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
    }

    /// A FIFO of one page that this process could read, and does not.
    private func stalledFIFO(_ path: String) throws -> Int32 {
        try #require(mkfifo(path, 0o600) == 0)
        let reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        try #require(reader >= 0)
        // F_SETPIPE_SZ of linux/fcntl.h.
        try #require(fcntl(reader, 1031, 4096) == 4096)
        return reader
    }

    @Test("A reader who takes nothing ends the trace two seconds after its end, with whole lines")
    func stalled() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/fifo"
        let reader = try stalledFIFO(path)
        defer { close(reader) }
        let trace = try DRMTrace(path: path, device: "tu104", events: 100)
        let total: UInt64 = 4096
        for number in 0..<total { trace.note(event(UInt32(number))) }
        let begun = Runtime.now()
        let result = trace.finish()
        let duration = Runtime.now() - begun
        #expect(duration >= 1_900_000_000 && duration < 9_000_000_000, "\(duration) ns")
        #expect(result.error == .timedOut)
        #expect(result.written + result.dropped == total)
        // What fits into a page of about 60 bytes a line, and nothing more.
        #expect(result.written > 20 && result.written < 100, "\(result)")
        var buffer = [UInt8](repeating: 0, count: 8192)
        let count = read(reader, &buffer, buffer.count)
        try #require(count > 0)
        let lines = try objects(String(decoding: buffer.prefix(count), as: UTF8.self))
        #expect(lines.first?["event"] as? String == "start")
        let kept = lines.filter { $0["event"] as? String == "open" }
        #expect(kept.compactMap { $0["file"] as? Int } == Array(0..<Int(result.written)))
        #expect(read(reader, &buffer, buffer.count) == 0, "nobody writes any more")
    }

    @Test("A reader who is full from the beginning is an error at once")
    func full() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/fifo"
        let reader = try stalledFIFO(path)
        let writer = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)
        defer {
            close(writer)
            close(reader)
        }
        let page = [UInt8](repeating: 0, count: 4096)
        try #require(write(writer, page, page.count) == page.count)
        #expect(throws: Errno.timedOut) { try DRMTrace(path: path, device: "tu104") }
    }

    @Test("A reader who goes on gets what there was room for, and is told of the rest")
    func resumed() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/fifo"
        let reader = try stalledFIFO(path)
        let trace = try DRMTrace(path: path, device: "tu104", events: 100)
        let total = 4096
        for number in 0..<total { trace.note(event(UInt32(number))) }
        // The trace's thread is stuck by now or will be; this takes one page after the other.
        let text = Guarded(.leaf, [UInt8]())
        let thread = try #require(
            RuntimeThread.start(name: "reader") {
                _ = fcntl(reader, F_SETFL, O_RDONLY)
                var buffer = [UInt8](repeating: 0, count: 4096)
                while true {
                    let count = read(reader, &buffer, buffer.count)
                    guard count > 0 else { break }
                    let part = buffer.prefix(count)
                    text.withLock { $0 += part }
                }
            })
        let result = trace.finish()
        thread.join()
        close(reader)
        #expect(result.error == nil)
        #expect(Int(result.written + result.dropped) == total)
        let lines = try objects(String(decoding: text.withLock { $0 }, as: UTF8.self))
        let told = lines.filter { $0["event"] as? String == "dropped" }
            .compactMap { $0["events"] as? Int }.reduce(0, +)
        #expect(told > 0 && told == Int(result.dropped))
        #expect(lines.last?["event"] as? String == "end")
        #expect(lines.last?["dropped"] as? Int == told)
    }

    @Test("A file loses nothing of what several threads do, however small the queue")
    func file() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/trace"
        let trace = try DRMTrace(path: path, device: "tu104", events: 16, bytes: 4096)
        let (threads, each) = (4, 5000)
        var running: [RuntimeThread] = []
        for index in 0..<threads {
            let thread = RuntimeThread.start(name: "caller") { [self] in
                for number in 0..<each {
                    // As a call of a program's: room first, then the event.
                    trace.waitForRoom()
                    trace.note(event(UInt32(index * each + number)))
                }
            }
            running.append(try #require(thread))
        }
        for thread in running { thread.join() }
        let result = trace.finish()
        #expect(
            result == DRMTrace.Result(written: UInt64(threads * each), dropped: 0, error: nil))
        let lines = try objects(try String(contentsOfFile: path, encoding: .utf8))
        #expect(lines.count == threads * each + 2)
        let numbers = lines.compactMap { $0["file"] as? Int }
        #expect(numbers.sorted() == Array(0..<threads * each))
        for index in 0..<threads {
            let own = numbers.filter { $0 / each == index }
            #expect(own == own.sorted(), "each thread's are in order")
        }
    }

    @Test("Who notes never waits for a reader, and who is about to call neither")
    func noWait() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/fifo"
        let reader = try stalledFIFO(path)
        let trace = try DRMTrace(path: path, device: "tu104", events: 4)
        // More than the FIFO and the queue hold: were anybody waited for, this would not come to its end.
        for number in 0..<100_000 {
            trace.waitForRoom()
            trace.note(event(UInt32(number)))
        }
        // Nobody is left who could read: the end is at once.
        signal(SIGPIPE, SIG_IGN)
        close(reader)
        let result = trace.finish()
        #expect(result.error == .brokenPipe)
        #expect(result.written + result.dropped == 100_000)
    }
}
