import CWireProtocol
import Fencing
import Foundation
import GPUVMClient
import Glibc
import TestSupport
import Testing
import WireProtocol

/// `gpuvmd` and `gpuvmctl` as processes.
@Suite struct ProcessTests {
    private func json(_ arguments: [String]) throws -> [String: Any] {
        let (status, output) = try ChildProcess("gpuvmctl", arguments).waitForEnd()
        try #require(status == 0, "\(arguments): \(output)")
        let document = try JSONSerialization.jsonObject(with: Data(output.utf8))
        return try #require(document as? [String: Any])
    }

    private func number(_ value: Any?) -> UInt64? { (value as? NSNumber)?.uint64Value }

    @Test func vectorsCheckSpeaksJSONAndItsExitStatus() throws {
        let folder = try TemporaryDirectory()
        let good = folder.path + "/good.jsonl"
        let bad = folder.path + "/bad.jsonl"
        try #"{"i":"vm 0 10000 0 0","o":{"ok":true,"warns":0}}"#.write(
            toFile: good, atomically: true, encoding: .utf8)
        try #"{"i":"vm 0 10000 0 0","o":{"ok":true,"warns":7}}"#.write(
            toFile: bad, atomically: true, encoding: .utf8)
        let fine = try json(["vectors", "check", "--json", good])
        #expect(number(fine["schema_version"]) == 1)
        #expect(number(fine["passed"]) == 1 && number(fine["failed"]) == 0)
        let (status, text) = try ChildProcess(
            "gpuvmctl", ["vectors", "check", good, bad]
        ).waitForEnd()
        #expect(status == 1)
        #expect(text.contains(bad) && text.hasSuffix("1 passed, 1 failed\n"))
    }

    @Test func ctlShowsInJSONWhatThereIs() throws {
        let daemon = try DaemonProcess()
        let connection = try daemon.connect("shown")
        let bench = try Workbench(connection, name: "space")
        #expect(try bench.run { $0.store(0x6000_0000, dword: 1) } == EIO)
        let socket = ["--socket", daemon.path, "--json"]
        let status = try json(["status"] + socket)
        #expect(number(status["schema_version"]) == 1)
        // The tool is a client as well.
        #expect(number(status["clients"]) == 2)
        #expect(number(status["vms"]) == 1)
        #expect(number(status["faults"]) == 1)
        let list = try json(["vm", "list"] + socket)
        #expect(number(list["schema_version"]) == 1)
        let vms = try #require(list["vms"] as? [[String: Any]])
        #expect(vms.count == 1)
        #expect(vms[0]["name"] as? String == "space")
        let id = try bench.id
        #expect(number(vms[0]["id"]) == UInt64(id))
        let show = try json(["vm", "show", "\(id)"] + socket)
        #expect(number(show["schema_version"]) == 1)
        #expect((show["mappings"] as? [Any])?.count == 2)
        for command in [["client", "list"], ["queue", "list"], ["fault", "list"]] {
            #expect(number(try json(command + socket)["schema_version"]) == 1, "\(command)")
        }
        let (wrong, _) = try ChildProcess(
            "gpuvmctl", ["vm", "show", "9999", "--socket", daemon.path]
        ).waitForEnd()
        #expect(wrong == 1)
        let (absent, text) = try ChildProcess(
            "gpuvmctl", ["status", "--socket", "\(daemon.directory.path)/nobody"]
        ).waitForEnd()
        #expect(absent == 69 && text.contains("no gpuvmd answers"), "\(text)")
    }

    @Test func sigtermLetsARunningJobFinish() throws {
        let daemon = try DaemonProcess(environment: ["GPUVM_DEVICE_JOB_TIMEOUT": "10min"])
        let connection = try daemon.connect()
        let bench = try Workbench(connection)
        let output = try connection.makeBuffer(size: 4096)
        try bench.vm.bind([.map(output, at: 0x1000_0000, range: 4096)])
        let object = try connection.makeSyncobj()
        _ = try bench.queue.exec(
            [
                try bench.batch {
                    $0.store(0x1000_0000, dword: 1)
                    $0.waitSemaphore(at: Workbench.semaphoreAddress, .equal, value: 1)
                    $0.store(0x1000_0004, dword: 2)
                }
            ], signals: [object.binary])
        let file = try object.exportSyncFile()
        let memory = try output.map()
        let semaphores = try bench.semaphores.map()
        let isRunning = { memory.load(as: UInt32.self) == 1 }
        #expect(becomes(isRunning))
        daemon.process.signal(SIGTERM)
        // The socket's name goes first; the job holds the daemon up.
        #expect(becomes { !daemon.directory.entries.contains("s") })
        #expect(!becomesReadable(file.rawValue, milliseconds: 0))
        semaphores.storeBytes(of: 1, as: UInt64.self)
        let (status, text) = daemon.process.waitForEnd()
        #expect(status == 0, "\(text)")
        #expect(memory.load(fromByteOffset: 4, as: UInt32.self) == 2, "the job was cut off")
        #expect(becomesReadable(file.rawValue))
        #expect(daemon.directory.entries == [])
        #expect(!connection.isAlive)
    }

    private func becomes(_ condition: () -> Bool) -> Bool {
        let deadline = soon()
        while !condition() {
            guard Runtime.now() < deadline else { return false }
            sched_yield()
        }
        return true
    }

    @Test func afterSIGKILLAnotherTakesOver() throws {
        let first = try DaemonProcess()
        let connection = try first.connect()
        let object = try connection.makeSyncobj()
        let waiter = Worker {
            do {
                try connection.wait(
                    for: [object.point(1)], flags: .forSubmit, deadline: .max)
            } catch let error as ClientError where error.code.rawValue == ECONNRESET {
                return
            }
            throw WireError.invalid("the wait did not end with ECONNRESET")
        }
        first.process.signal(SIGKILL)
        #expect(first.process.waitForEnd().status == 128 + SIGKILL)
        try waiter.join()
        let failure = errno { _ = try connection.status() }
        #expect(failure == ECONNRESET || failure == ENOTCONN)
        #expect(errno { _ = try connection.status() } == ENOTCONN)
        #expect(first.directory.entries == ["s", "s.lock", "s.tree"])
        let second = try DaemonProcess(in: first.directory)
        #expect(try second.connect().status().clients == 1)
        second.process.signal(SIGTERM)
        #expect(second.process.waitForEnd().status == 0)
        #expect(first.directory.entries == [])
    }

    @Test func whoDoesNotReadIsCutOffAndNobodyElseIsHeldUp() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect("good")
        let before = try daemon.counts(connection)
        let lazy = try RawClient(daemon.path)
        try lazy.hello("lazy")
        let request = RawClient.message(Opcode.status.rawValue, [])
        var sent = 0
        var good = 0
        // Each reply waits in the client's socket buffer, which holds some hundreds.
        while sent < 100_000 {
            let result = lazy.sendRaw(request, flags: 0)
            guard result >= 0 else { break }
            sent += 1
            if sent % 10 == 0 {
                _ = try connection.status()
                good += 1
            }
        }
        #expect(sent < 100_000 && good >= sent / 10)
        #expect(try daemon.settle(connection, to: before) == before)
        #expect(daemon.log.lines().contains { $0.contains("does not read its replies") })
    }

    @Test func theDemoPassesAndFollowsItsScenario() throws {
        let daemon = try DaemonProcess()
        func demo(_ arguments: [String]) throws -> String {
            let (status, text) = try ChildProcess(
                "gpuvmctl", ["demo", "--socket", daemon.path] + arguments
            ).waitForEnd()
            #expect(status == 0, "\(text)")
            return text
        }
        let one = try demo(["--seed", "1", "--base-address", "0x6ee000000000"])
        let two = try demo(["--seed", "2", "--base-address", "0x7ff000000000"])
        #expect(one.contains("0x6ee0000") && !one.contains("0x7ff0000"))
        #expect(two.contains("0x7ff0000") && !two.contains("0x6ee0000"))
        let alone = try ChildProcess(
            "gpuvmctl", ["demo"],
            environment: ["GPUVM_SOCKET": "\(daemon.directory.path)/nobody"]
        ).waitForEnd()
        #expect(alone.status == 0, "a private daemon: \(alone.output)")
    }
}
