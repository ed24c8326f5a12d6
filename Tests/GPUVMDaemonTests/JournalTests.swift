import Fencing
import Glibc
import Logging
import TestSupport
import Testing
import WireProtocol

@testable import GPUVMDaemon

/// The journal's own protocol, against a socket that plays the journal.
@Suite struct JournalTests {
    /// A stream as systemd gives it to a service for its standard error, and our end of it.
    private struct Stream: ~Copyable {
        let service: OwnedFD
        let journal: OwnedFD

        init() throws {
            var ends: [Int32] = [-1, -1]
            let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
            try #require(socketpair(AF_UNIX, type, 0, &ends) == 0)
            service = OwnedFD(ends[0])
            journal = OwnedFD(ends[1])
        }

        /// JOURNAL_STREAM for it.
        func environment() throws -> [String: String] {
            var status = stat()
            try #require(fstat(service.rawValue, &status) == 0)
            return ["JOURNAL_STREAM": "\(status.st_dev):\(status.st_ino)"]
        }

        /// What has been written to it.
        func text() -> String {
            var bytes: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 65_536)
            while becomesReadable(journal.rawValue, milliseconds: 0) {
                let count = read(journal.rawValue, &buffer, buffer.count)
                guard count > 0 else { break }
                bytes += buffer[..<count]
            }
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    private func logger(
        _ stream: borrowing Stream, _ path: String, _ format: LogFormat = .auto
    ) throws -> Logger {
        let sink = LogSink(
            fd: stream.service.rawValue, format: format, clientLinesPerSecond: 10_000,
            environment: try stream.environment(), journalPath: path)
        return Logger(label: "gpuvmd") { TextLogHandler(label: $0, sink: sink) }
    }

    /// The fields of the next record.
    private func next(_ journal: DatagramSocket) throws -> [String: String] {
        let bytes = journal.nextBytes()
        let fields = bytes.flatMap(journalFields)
        return try #require(fields, "\(bytes?.count ?? 0) bytes")
    }

    @Test(arguments: [LogFormat.auto, .journal])
    func aRecordHasFields(_ format: LogFormat) throws {
        let directory = try TemporaryDirectory()
        let journal = try DatagramSocket("\(directory.path)/j")
        let stream = try Stream()
        var logger = try logger(stream, "\(directory.path)/j", format)
        logger[metadataKey: "client"] = "7"
        logger.error(
            "page fault", metadata: ["vm": "3", "queue": "12", "why": "x\ny", "no good": "1"])
        let fields = try next(journal)
        #expect(
            fields == [
                "MESSAGE": #"page fault client=7 vm=3 queue=12 no good=1 why="x\ny""#,
                // LOG_ERR of syslog(3).
                "PRIORITY": "3", "SYSLOG_IDENTIFIER": "gpuvmd", "GPUVMD_CLIENT": "7",
                "GPUVMD_VM": "3", "GPUVMD_QUEUE": "12", "GPUVMD_WHY": "x\ny",
            ])
        #expect(stream.text() == "")
    }

    @Test func aClientCannotForgeFields() throws {
        let directory = try TemporaryDirectory()
        let journal = try DatagramSocket("\(directory.path)/j")
        let stream = try Stream()
        let logger = try logger(stream, "\(directory.path)/j")
        let name = "a\nPRIORITY=0\n_UID=0\nGPUVMD_VM\n\u{1}"
        logger.notice("hello", metadata: ["name": "\(name)"])
        let fields = try next(journal)
        #expect(fields["GPUVMD_NAME"] == name)
        #expect(fields["PRIORITY"] == "5")
        #expect(Set(fields.keys) == ["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "GPUVMD_NAME"])
    }

    @Test func prioritiesAreThoseOfSyslog() {
        let expected: [(Logger.Level, String)] = [
            (.trace, "7"), (.debug, "7"), (.info, "6"), (.notice, "5"), (.warning, "4"),
            (.error, "3"), (.critical, "2"),
        ]
        for (level, priority) in expected {
            let record = LogRecord(level: level, label: "l", message: "m", metadata: [:])
            #expect(journalFields(JournalRecord(record).bytes)?["PRIORITY"] == priority)
        }
    }

    @Test func fieldNamesAreValid() {
        #expect(JournalRecord.fieldName("vm") == "GPUVMD_VM")
        #expect(JournalRecord.fieldName("need_restart2") == "GPUVMD_NEED_RESTART2")
        for key in ["", "a b", "a=b", "a\n", "ä", "a.b", String(repeating: "x", count: 58)] {
            #expect(JournalRecord.fieldName(key) == nil, "\(key)")
        }
        #expect(JournalRecord.fieldName(String(repeating: "x", count: 57)) != nil)
    }

    @Test func aLargeRecordComesAsASealedFile() throws {
        let directory = try TemporaryDirectory()
        let journal = try DatagramSocket("\(directory.path)/j")
        let stream = try Stream()
        let logger = try logger(stream, "\(directory.path)/j")
        // More than a socket's buffer, 212,992 bytes by default (net.core.wmem_default), lets through.
        let text = String(repeating: "0123456789abcdef", count: 1 << 16)
        logger.warning("\(text)")
        let fields = try next(journal)
        // Not in the expectation: a failure would print it.
        let isWhole = fields["MESSAGE"] == text
        #expect(isWhole)
        #expect(fields["PRIORITY"] == "4")
    }

    @Test func withoutAJournalLinesHavePrefixes() throws {
        let directory = try TemporaryDirectory()
        let stream = try Stream()
        try logger(stream, "\(directory.path)/none").notice("x", metadata: ["vm": "1"])
        #expect(stream.text() == "<5>gpuvmd: x vm=1\n")
    }

    @Test func aJournalThatComesBackIsFoundAgain() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/j"
        var journal: DatagramSocket? = try DatagramSocket(path)
        let stream = try Stream()
        let logger = try logger(stream, path)
        logger.notice("one")
        #expect(journal?.nextBytes() != nil)
        journal = nil
        unlink(path)
        logger.notice("two")
        #expect(stream.text() == "<5>gpuvmd: two\n")
        journal = try DatagramSocket(path)
        logger.notice("three")
        let bytes = try #require(journal?.nextBytes())
        #expect(journalFields(bytes)?["MESSAGE"] == "three")
        #expect(stream.text() == "")
    }

    @Test(.timeLimit(.minutes(1)))
    func aJournalThatDoesNotReadHoldsNobodyUp() throws {
        let directory = try TemporaryDirectory()
        let journal = try DatagramSocket("\(directory.path)/j")
        let stream = try Stream()
        let logger = try logger(stream, "\(directory.path)/j")
        // More than both queues hold; with a call that blocks this would never end.
        let lines = 4000
        let filler = String(repeating: "-", count: 400)
        for number in 0..<lines { logger.notice("\(number) \(filler)") }
        var seen = 0
        while let bytes = journal.nextBytes(milliseconds: 0) {
            #expect(journalFields(bytes)?["MESSAGE"] == "\(seen) \(filler)")
            seen += 1
        }
        let streamed = stream.text().split(separator: "\n")
        #expect(seen > 0 && streamed.count > 0 && seen + streamed.count < lines)
        // Whole lines, in order, after those of the socket.
        for (index, line) in streamed.enumerated() {
            #expect(line == "<5>gpuvmd: \(seen + index) \(filler)")
        }
        logger.notice("after")
        let lost = try next(journal)
        #expect(lost["GPUVMD_LINES"] == "\(lines - seen - streamed.count)")
        #expect(lost["PRIORITY"] == "4")
        #expect(try next(journal)["MESSAGE"] == "after")
    }
}
