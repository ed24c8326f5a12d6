import Foundation
import TestSupport
import Testing

@testable import gpuvmctl

/// `gpuvmctl run --trace`, against what Tests/DRMProgram does.
@Suite("Traces of runs", .enabled(if: RunFixture.isPossible), .timeLimit(.minutes(2)))
struct RunTraceTests {
    private let fixture: RunFixture

    init() throws { fixture = try RunFixture() }

    private func trace(_ what: String) throws -> [[String: Any]] {
        let result = try fixture.run(
            [
                "--quiet", "--log-level", "critical", "--trace", fixture.path("trace"), "--",
                RunFixture.program, what,
            ])
        try #require(result.exit == .status(0), "\(result.output)\(result.errors)")
        return try fixture.lines("trace")
    }

    private func names(_ events: [[String: Any]]) -> [String] {
        events.compactMap { $0["event"] as? String }
    }

    @Test("The first line says what the others are, the last that they are all")
    func frame() throws {
        let events = try trace("binds")
        let first = try #require(events.first)
        #expect(first["schema_version"] as? Int == 1)
        #expect(first["event"] as? String == "start" && first["device"] as? String == "tu104")
        let last = try #require(events.last)
        #expect(last["event"] as? String == "end")
        // Without the first line and itself: an open, 14 ioctls, 7 jobs, a close.
        #expect(last["events"] as? Int == 23 && last["dropped"] as? Int == 0)
        #expect(events.count == 25)
        #expect(names(events)[1] == "open")
        #expect(names(events).filter { $0 == "close" }.count == 1)
        #expect(names(events).filter { $0 == "job" }.count == 7)
    }

    @Test("Ioctls are there in order, with their arguments and answers")
    func ioctls() throws {
        let calls = try trace("binds").filter { $0["event"] as? String == "ioctl" }
        #expect(
            calls.compactMap { $0["ioctl"] as? String } == [
                "GETPARAM", "VM_INIT", "GEM_NEW", "VM_BIND", "VM_BIND", "VM_BIND", "VM_BIND",
                "VM_BIND", "VM_BIND", "VM_BIND", "GEM_CLOSE", "GETPARAM", "GETPARAM", "0x647f",
            ])
        for call in calls {
            let begun = try #require(call["time_ns"] as? Int)
            let ended = try #require(call["end_ns"] as? Int)
            #expect(0 < begun && begun <= ended)
        }
        func arguments(_ index: Int) throws -> [String: Any] {
            try #require(calls[index]["args"] as? [String: Any])
        }
        func op(_ call: Int, _ index: Int) throws -> [String: Any] {
            let list = try #require(try arguments(call)["ops"] as? [[String: Any]])
            return try #require(list.dropFirst(index).first)
        }
        #expect(try arguments(1)["kernel_address"] as? String == "0x8000000000")
        let buffer = try #require(try arguments(2)["handle"] as? Int)
        #expect(try arguments(2)["bytes"] as? Int == 0x10000)
        #expect(try arguments(2)["domain"] as? String == "0x2e")
        #expect(try arguments(3)["async"] as? Bool == false)
        let first = try op(3, 0)
        #expect(first["op"] as? String == "map" && first["address"] as? String == "0x100000")
        #expect(first["range"] as? String == "0x10000" && first["handle"] as? Int == buffer)
        #expect(try op(4, 0)["op"] as? String == "unmap")
        #expect(try op(4, 0)["address"] as? String == "0x104000")
        #expect(try op(5, 0)["op"] as? String == "sparse_map")
        #expect(try op(6, 0)["offset"] as? String == "0x2000")
        #expect(try op(7, 1)["address"] as? String == "0x100000")
        #expect(try op(8, 0)["op"] as? String == "sparse_unmap")
        #expect(try arguments(10)["handle"] as? Int == buffer)
        #expect(calls[10]["result"] as? Int == 0 && calls[10]["errno"] == nil)
        for index in 11...13 {
            #expect(calls[index]["result"] as? Int == -1)
            #expect(calls[index]["errno"] as? String == "EINVAL")
        }
        #expect(try arguments(11)["param"] as? Int == 9999)
    }

    @Test("A fault, its job and what was submitted are in it")
    func fault() throws {
        let events = try trace("fault")
        let exec = try #require(events.first { $0["ioctl"] as? String == "EXEC" })
        let arguments = try #require(exec["args"] as? [String: Any])
        let push = try #require((arguments["pushes"] as? [[String: Any]])?.first)
        #expect(push["address"] as? String == "0xdead0000" && push["bytes"] as? Int == 8)
        #expect((arguments["signals"] as? [[String: Any]])?.count == 1)
        #expect((arguments["waits"] as? [[String: Any]])?.isEmpty == true)
        let fault = try #require(events.first { $0["event"] as? String == "fault" })
        #expect(fault["address"] as? String == "0xdead0000")
        // Two threads execute them, and a line comes when a job has given back what it held.
        let jobs = events.filter { $0["event"] as? String == "job" }.sorted {
            ($0["time_ns"] as? Int ?? 0) < ($1["time_ns"] as? Int ?? 0)
        }
        #expect(jobs.compactMap { $0["kind"] as? String } == ["bind", "exec"])
        #expect(jobs.last?["result"] as? Int == -1 && jobs.last?["errno"] as? String == "EIO")
        let map = try #require(events.first { $0["event"] as? String == "mmap" })
        #expect(map["bytes"] as? Int == 0x1000 && map["result"] as? Int == 0)
        // They are all of the one open file.
        let files = Set(events.compactMap { $0["file"] as? Int })
        #expect(files.count == 1)
    }

    @Test("A refused method is there with its class")
    func refused() throws {
        let fault = try #require(
            try trace("dispatch").first { $0["event"] as? String == "fault" })
        #expect(fault["class"] as? String == "0xc5c0" && fault["method"] as? String == "0x2bc")
    }

    @Test("Processes write to one trace")
    func forks() throws {
        let events = try trace("forks")
        #expect(names(events).filter { $0 == "ioctl" }.count == 44)
        #expect(names(events).filter { $0 == "open" }.count == 4)
        #expect(names(events).filter { $0 == "close" }.count == 4)
        #expect(Set(events.compactMap { $0["pid"] as? Int }).count == 4)
    }
}
