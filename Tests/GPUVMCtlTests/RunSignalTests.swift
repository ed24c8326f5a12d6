import Fencing
import Foundation
import Glibc
import TestSupport
import Testing
import WireProtocol

@testable import gpuvmctl

/// Signals before the program of a run starts and after it has ended: they end the run at once, and
/// nothing of it is left.
@Suite("Signals of runs", .enabled(if: RunFixture.isPossible), .timeLimit(.minutes(2)))
struct RunSignalTests {
    private let fixture: RunFixture

    init() throws { fixture = try RunFixture() }

    /// A listener on a path of the fixture's, that accepts nobody.
    private func listener(_ name: String) throws -> OwnedFD {
        let type = Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let listener = OwnedFD(socket(AF_UNIX, type, 0))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) {
            $0.copyBytes(from: fixture.path(name).utf8)
        }
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener.rawValue, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(bound == 0 && listen(listener.rawValue, 4) == 0)
        return listener
    }

    /// Starts a run with a daemon that never answers; `body` gets gpuvmctl when it waits for that.
    private func beforeTheProgram(
        _ prefix: [String] = [], _ body: (ChildProcess) throws -> Void
    ) throws {
        let listener = try listener("silent")
        let output = try fixture.file("output")
        defer { close(output) }
        let child = try ChildProcess(
            "/usr/bin/env",
            prefix + [
                try gpuvmctlPath(), "run", "--daemon", fixture.path("silent"), "--", "/bin/sh",
                "-c", "echo started",
            ], fds: [(STDOUT_FILENO, output), (STDERR_FILENO, output)])
        var polls = [pollfd(fd: listener.rawValue, events: Int16(POLLIN), revents: 0)]
        try #require(poll(&polls, 1, 20_000) == 1)
        let connection = accept(listener.rawValue, nil, nil)
        defer { close(connection) }
        // Its HELLO: now it waits for the answer.
        polls[0].fd = connection
        try #require(poll(&polls, 1, 20_000) == 1)
        try body(child)
        #expect(try fixture.text("output").isEmpty)
    }

    @Test(
        "Before the program starts a signal ends the run",
        arguments: [SIGINT, SIGTERM, SIGHUP, SIGQUIT])
    func before(_ number: Int32) throws {
        try beforeTheProgram { child in
            kill(child.pid, number)
            #expect(child.wait() == .signal(number))
        }
    }

    @Test("What nohup ignores ends no run, nor does what ends no process")
    func ignored() throws {
        try beforeTheProgram(["/bin/sh", "-c", "trap '' HUP INT; exec \"$0\" \"$@\""]) { child in
            // They are taken in the order of their numbers: the last one comes after all of these.
            for number in [SIGHUP, SIGINT, SIGUSR1, SIGUSR2, SIGTERM] { kill(child.pid, number) }
            #expect(child.wait() == .signal(SIGTERM))
        }
    }

    @Test("At any moment an interrupt ends the run or comes too late, and leaves nothing")
    func anyMoment() throws {
        let output = try fixture.file("output")
        defer { close(output) }
        var ended = 0
        for moment in 0..<30 {
            let child = try fixture.start(
                ["--quiet", "--", "/bin/sh", "-c", "exit 0"], output: output, errors: output)
            // A walk through the life of a run.
            _ = poll(nil, 0, Int32(moment * 4))
            kill(child.pid, SIGINT)
            let exit = child.wait()
            #expect(exit == .signal(SIGINT) || exit == .status(0), "\(moment): \(exit)")
            if exit != .status(0) { ended += 1 }
            #expect(fixture.leftovers.isEmpty, "\(moment)")
        }
        #expect(ended > 0)
    }

    /// Sends a signal again and again until a process has ended: one that meets the program is the
    /// program's.
    private func end(_ child: ChildProcess, by number: Int32) -> ChildProcess.Exit {
        while true {
            kill(child.pid, number)
            if let exit = child.poll() { return exit }
            _ = poll(nil, 0, 10)
        }
    }

    @Test("While the run waits for what the program left behind, the device tree goes, too")
    func settling() throws {
        try #require(mkfifo(fixture.path("hold"), 0o600) == 0)
        let hold = open(fixture.path("hold"), O_RDWR | O_CLOEXEC)
        let output = try fixture.file("output")
        defer {
            close(hold)
            close(output)
        }
        // A process in the background has a file open until it may read a line.
        let child = try fixture.start(
            [
                "--", "/bin/sh", "-c",
                """
                "$0" restart < "$1" > "$2" & \
                while ! grep -q ready "$2"; do sleep 0.02; done; echo done
                """, RunFixture.program, fixture.path("hold"), fixture.path("background"),
            ], output: output, errors: output)
        let limit = Runtime.deadline(after: 20_000_000_000)
        while try !fixture.text("output").contains("done"), Runtime.now() < limit {
            _ = poll(nil, 0, 5)
        }
        #expect(end(child, by: SIGTERM) == .signal(SIGTERM))
        #expect(write(hold, "\n", 1) == 1)
        #expect(fixture.leftovers.isEmpty)
        #expect(try !fixture.text("output").contains("ioctls ("), "there is no summary")
    }

    @Test("A summary that nobody reads is given up")
    func summary() throws {
        let path = fixture.path("fifo")
        try #require(mkfifo(path, 0o600) == 0)
        let reader = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)
        let output = try fixture.file("output")
        defer {
            close(reader)
            close(output)
        }
        try #require(fcntl(reader, 1031, 4096) == 4096)  // F_SETPIPE_SZ
        let page = [UInt8](repeating: 0, count: 4096)
        try #require(write(reader, page, page.count) == page.count)
        let child = try fixture.start(
            ["--summary-json", path, "--", "/bin/sh", "-c", "exit 0"], output: output,
            errors: output)
        // The lines of the summary come before the document.
        let limit = Runtime.deadline(after: 20_000_000_000)
        while try !fixture.text("output").contains("0 ioctls"), Runtime.now() < limit {
            _ = poll(nil, 0, 5)
        }
        kill(child.pid, SIGINT)
        #expect(child.wait() == .signal(SIGINT))
        #expect(fixture.leftovers.isEmpty)
    }

    @Test("A trace whose reader stalls holds the program up nowhere, and says so")
    func stalledTrace() throws {
        let path = fixture.path("fifo")
        try #require(mkfifo(path, 0o600) == 0)
        let reader = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)
        defer { close(reader) }
        try #require(fcntl(reader, 1031, 4096) == 4096)  // F_SETPIPE_SZ
        let result = try fixture.run(
            ["--quiet", "--trace", path, "--", RunFixture.program, "binds"])
        #expect(result.exit == .status(1))
        #expect(result.errors.contains("nobody reads it any more"), "\(result.errors)")
        #expect(fixture.leftovers.isEmpty)
        var buffer = [UInt8](repeating: 0, count: 8192)
        let count = read(reader, &buffer, buffer.count)
        try #require(count > 0)
        #expect(buffer[count - 1] == UInt8(ascii: "\n"), "the last line is whole")
    }
}
