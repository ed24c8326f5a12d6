import Fencing
import Glibc
import Logging
import Testing

@testable import GPUVMDaemon

@Suite struct LogTests {
    /// Clocks that a test moves.
    private final class Clock: Sendable {
        private let nanoseconds = Guarded(.leaf, UInt64(5_000_000_000))
        var now: UInt64 { nanoseconds.withLock { $0 } }
        func advance(milliseconds: UInt64) {
            nanoseconds.withLock { $0 += milliseconds * 1_000_000 }
        }
    }

    private func sink(
        _ log: CapturedLog, _ clock: Clock = Clock(), journal: Bool = false, limit: Int = 3
    ) -> LogSink {
        LogSink(
            fd: log.fd, form: journal ? .prefixed : .plain, clientLinesPerSecond: limit,
            // 2024-02-29T23:59:58.012345Z
            wallClock: { .init(seconds: 1_709_251_198, microseconds: 12_345) },
            monotonicClock: { clock.now })
    }

    private func logger(_ sink: LogSink, level: Logger.Level = .trace) -> Logger {
        Logger(label: "gpuvmd") { TextLogHandler(label: $0, level: level, sink: sink) }
    }

    @Test func aLineHasTimeLevelAndKeys() throws {
        let log = try CapturedLog()
        var logger = logger(sink(log))
        logger[metadataKey: "queue"] = "4"
        logger.warning("bad bind", metadata: ["errno": "EINVAL", "vm": "3", "client": "pid 9"])
        #expect(
            log.lines() == [
                """
                2024-02-29T23:59:58.012Z warning gpuvmd: bad bind client="pid 9" vm=3 queue=4 \
                errno=EINVAL
                """
            ])
    }

    @Test func levelsAreKept() throws {
        let log = try CapturedLog()
        let logger = logger(sink(log), level: .notice)
        logger.info("no")
        logger.notice("yes")
        #expect(log.lines().map { $0.hasSuffix("notice gpuvmd: yes") } == [true])
    }

    @Test func theSinksLevelIsThatOfAllLoggersWithoutOne() throws {
        let log = try CapturedLog()
        let sink = sink(log)
        let follows = Logger(label: "a") { TextLogHandler(label: $0, sink: sink) }
        var own = Logger(label: "b") { TextLogHandler(label: $0, sink: sink) }
        own.logLevel = .info
        // One that was copied before, as those of sessions are.
        let copy = follows
        sink.level = .error
        copy.warning("no")
        own.warning("yes")
        sink.level = .debug
        copy.debug("yes")
        own.debug("no")
        #expect(log.lines().map { $0.suffix(6) } == ["b: yes", "a: yes"])
    }

    @Test func clientsCannotForgeLines() throws {
        let log = try CapturedLog()
        logger(sink(log)).error(
            "a\nb\u{1B}[2J", metadata: ["name": "x\" y=\"\r\n<3>z\\", "k=v": "\u{202E}"])
        let lines = log.lines()
        #expect(lines.count == 1)
        #expect(
            lines.first?.hasSuffix(
                #"""
                gpuvmd: a\nb\u{1b}[2J k=v=\u{202e} name="x\" y=\"\u{d}\n<3>z\\"
                """#) == true, "\(lines)")
    }

    @Test func theJournalGetsPriorities() throws {
        let log = try CapturedLog()
        let logger = logger(sink(log, journal: true))
        for level in Logger.Level.allCases { logger.log(level: level, "x") }
        #expect(
            log.lines().map { $0.prefix(3) } == ["<7>", "<7>", "<6>", "<5>", "<4>", "<3>", "<2>"])
    }

    @Test func aJournalIsRecognisedByIdentity() throws {
        let log = try CapturedLog()
        var status = stat()
        #expect(fstat(log.fd, &status) == 0)
        func leads(_ value: String?) -> Bool {
            JournalStream.leads(log.fd, environment: value.map { ["JOURNAL_STREAM": $0] } ?? [:])
        }
        #expect(leads("\(status.st_dev):\(status.st_ino)"))
        #expect(!leads("\(status.st_dev):\(status.st_ino + 1)"))
        #expect(!leads(nil))
        #expect(!leads("x:y"))
        #expect(!leads("1"))
    }

    @Test func aNoisyClientIsCutShortAndCounted() throws {
        let log = try CapturedLog()
        let clock = Clock()
        let sink = sink(log, clock, limit: 3)
        let logger = logger(sink)
        for _ in 0..<10 { logger.notice("refused", metadata: ["client": "1"]) }
        logger.notice("refused", metadata: ["client": "2"])
        logger.debug("detail", metadata: ["client": "1"])
        logger.critical("loud", metadata: ["client": "1"])
        logger.notice("not a client's")
        var lines = log.lines()
        #expect(lines.filter { $0.contains("refused client=1") }.count == 3)
        #expect(lines.count == 3 + 4)
        clock.advance(milliseconds: 999)
        logger.notice("quiet", metadata: ["client": "1"])
        #expect(log.lines() == [])
        clock.advance(milliseconds: 1)
        // Anybody's line tells what was left out, and the client has a share again.
        logger.notice("other", metadata: ["client": "2"])
        logger.notice("again", metadata: ["client": "1"])
        lines = log.lines()
        #expect(lines.count == 3)
        #expect(lines.first?.contains("left out client=1 lines=8") == true, "\(lines)")
        #expect(lines.last?.contains("again client=1") == true)
    }

    @Test func theRestIsToldAtTheEnd() throws {
        let log = try CapturedLog()
        let sink = sink(log, limit: 1)
        for _ in 0..<5 { logger(sink).error("x", metadata: ["client": "7"]) }
        #expect(log.lines().count == 1)
        sink.flush()
        #expect(log.lines().first?.contains("left out client=7 lines=4") == true)
    }
}
