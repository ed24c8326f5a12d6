import CPlatform
import CWireProtocol
import Fencing
import Glibc
import SystemPackage
import TestSupport
import Testing
import WireProtocol

@testable import GPUVMClient

@Suite(.timeLimit(.minutes(1)))
struct ClientTests {
    /// A VM_CREATE whose reply is its start address, so that replies can be told apart.
    private static func echo(_ call: FakeDaemon.Call, on socket: UnixSocket) {
        let start = call.contents(gpuvm_vm_create.self).start
        FakeDaemon.reply(
            call, gpuvm_handle_reply(handle: UInt32(truncatingIfNeeded: start), reserved: 0),
            on: socket)
    }

    private func code(_ body: () throws(ClientError) -> Void) -> Errno? {
        do throws(ClientError) {
            try body()
            return nil
        } catch {
            return error.code
        }
    }

    @Test func greetingTellsWhoAnswers() throws {
        let daemon = try FakeDaemon { _, _ in true }
        let connection = try Connection(adopting: daemon.clientEnd, name: "test")
        #expect(connection.server.clientID == 12)
        #expect(connection.server.name == "fake")
        #expect(connection.isAlive)
        connection.close()
        daemon.join()
        #expect(!connection.isAlive)
        let code = code { () throws(ClientError) in _ = try connection.status() }
        #expect(code == .socketNotConnected)
    }

    @Test func errorsCarryErrnoOpcodeAndSentence() throws {
        let daemon = try FakeDaemon { call, socket in
            let error = WireError(.diskQuotaExceeded, "the quota of 4 VMs is used up")
            FakeDaemon.fail(call, error, on: socket)
            return true
        }
        let connection = try Connection(adopting: daemon.clientEnd, name: "test")
        do throws(ClientError) {
            _ = try connection.makeVM(range: 4096)
            Issue.record("an error reply was taken for a success")
        } catch {
            #expect(error.code == .diskQuotaExceeded)
            #expect(error.opcode == .vmCreate)
            #expect(error.text == "the quota of 4 VMs is used up")
            #expect(error.description == "VM_CREATE: the quota of 4 VMs is used up [EDQUOT]")
        }
        #expect(connection.isAlive)
        connection.close()
        daemon.join()
    }

    /// Replies wait until all callers' requests are there and then come in another order.
    @Test(arguments: [UInt64(1), 77])
    func repliesFindTheirCallersInAnyOrder(seed: UInt64) throws {
        let threads = 8
        let rounds = 50
        let shuffler = Shuffler(seed)
        let daemon = try FakeDaemon { call, socket in
            for call in shuffler.add(call, batch: threads) { Self.echo(call, on: socket) }
            return true
        }
        let connection = try Connection(adopting: daemon.clientEnd, name: "test")
        let wrong = Collected<String>()
        let callers = (0..<threads).compactMap { thread in
            RuntimeThread.start(name: "caller") {
                Self.callRepeatedly(connection, thread, rounds, wrong)
            }
        }
        #expect(callers.count == threads)
        for caller in callers { caller.join() }
        let problems = wrong.all
        #expect(problems.isEmpty, "seed \(seed): \(problems.prefix(3))")
        connection.close()
        daemon.join()
    }

    // @unchecked: only the fake daemon's thread uses it.
    private final class Shuffler: @unchecked Sendable {
        private var random: SplitMix64
        private var held: [FakeDaemon.Call] = []

        init(_ seed: UInt64) {
            random = SplitMix64(seed: seed)
        }

        func add(_ call: FakeDaemon.Call, batch: Int) -> [FakeDaemon.Call] {
            held.append(call)
            guard held.count == batch else { return [] }
            defer { held = [] }
            return held.shuffled(using: &random)
        }
    }

    private static func callRepeatedly(
        _ connection: Connection, _ thread: Int, _ rounds: Int,
        _ wrong: Collected<String>
    ) {
        for round in 0..<rounds {
            let expected = UInt64(thread * 1000 + round)
            do throws(ClientError) {
                let vm = try connection.makeVM(start: expected, range: 4096)
                if UInt64(vm.handle) != expected {
                    wrong.add("\(vm.handle) instead of \(expected)")
                }
            } catch {
                wrong.add("\(error)")
            }
        }
    }

    @Test func daemonsDeathFailsEveryCall() throws {
        let threads = 6
        let seen = Counter()
        let daemon = try FakeDaemon { _, _ in seen.increment() < threads }
        let connection = try Connection(adopting: daemon.clientEnd, name: "test")
        let codes = Collected<Errno>()
        let callers = (0..<threads).compactMap { _ in
            RuntimeThread.start(name: "caller") { Self.collectError(connection, codes) }
        }
        for caller in callers { caller.join() }
        daemon.join()
        #expect(codes.all == [Errno](repeating: .connectionReset, count: threads))
        #expect(
            code { () throws(ClientError) in _ = try connection.status() } == .socketNotConnected)
    }

    private static func collectError(
        _ connection: Connection, _ codes: Collected<Errno>
    ) {
        do throws(ClientError) { _ = try connection.status() } catch {
            codes.add(error.code)
        }
    }

    // @unchecked: only the fake daemon's thread uses it.
    private final class Counter: @unchecked Sendable {
        private var value = 0

        func increment() -> Int {
            value += 1
            return value
        }
    }

    @Test func unknownSerialEndsTheConnection() throws {
        let daemon = try FakeDaemon { call, socket in
            var builder = ReplyBuilder(to: .vmCreate, serial: call.serial &+ 1)
            builder.append(gpuvm_handle_reply(handle: 1, reserved: 0))
            _ = try? builder.finish().send(on: socket, blocking: true)
            return true
        }
        let connection = try Connection(adopting: daemon.clientEnd, name: "test")
        let code = code { () throws(ClientError) in _ = try connection.makeVM(range: 4096) }
        #expect(code == .protocolError)
        #expect(!connection.isAlive)
        daemon.join()
    }

    @Test func malformedReplyIsEPROTO() throws {
        let daemon = try FakeDaemon { call, socket in
            // A struct of another opcode: too long for VM_CREATE.
            let contents = gpuvm_exec_reply(fence_context: 1, fence_sequence: 1)
            FakeDaemon.reply(call, contents, on: socket)
            return true
        }
        let connection = try Connection(adopting: daemon.clientEnd, name: "test")
        let code = code { () throws(ClientError) in _ = try connection.makeVM(range: 4096) }
        #expect(code == .protocolError)
        daemon.join()
    }

    @Test func listsAreReadPageByPage() throws {
        let daemon = try FakeDaemon { call, socket in
            let cursor = call.contents(gpuvm_page.self).cursor
            var builder = ReplyBuilder(to: call.opcode, serial: call.serial)
            builder.append(
                gpuvm_page_reply(count: 2, reserved: 0, cursor: cursor == 4 ? 0 : cursor + 2))
            for id in [cursor, cursor + 1] {
                var record = gpuvm_client_record()
                record.client_id = UInt32(id)
                builder.append(record)
            }
            _ = try? builder.finish().send(on: socket, blocking: true)
            return true
        }
        let connection = try Connection(adopting: daemon.clientEnd, name: "test")
        #expect(try connection.clients().map(\.client_id) == [0, 1, 2, 3, 4, 5])
        connection.close()
        daemon.join()
    }

    @Test func pageWithoutRecordsIsNotAskedForForEver() throws {
        let daemon = try FakeDaemon { call, socket in
            FakeDaemon.reply(call, gpuvm_page_reply(count: 0, reserved: 0, cursor: 9), on: socket)
            return true
        }
        let connection = try Connection(adopting: daemon.clientEnd, name: "test")
        let code = code { () throws(ClientError) in _ = try connection.queues() }
        #expect(code == .protocolError)
        connection.close()
        daemon.join()
    }

    // MARK: Waits on the fence page

    /// Answers SYNCOBJ_CREATE with slot 3.
    private static let syncobjHandler: FakeDaemon.Handler = { call, socket in
        guard call.opcode == .syncobjCreate else { return false }
        FakeDaemon.reply(call, gpuvm_syncobj_reply(handle: 5, fence_slot: 3), on: socket)
        return true
    }

    /// Writes slot 3 as the header of the fence page says.
    private func publish(_ page: borrowing OwnedFD, value: UInt64, submitted: UInt64) throws {
        var error: Int32 = 0
        let base = try #require(
            gpuvm_map_shared(page.rawValue, 0, FencePage.chunkBytes, 1, &error))
        let slot = base + 3 * 32
        slot.storeBytes(of: 3, toByteOffset: 28, as: UInt32.self)
        slot.storeBytes(of: submitted, toByteOffset: 8, as: UInt64.self)
        slot.storeBytes(of: value, toByteOffset: 0, as: UInt64.self)
        slot.storeBytes(of: 1, toByteOffset: 16, as: UInt32.self)
        gpuvm_unmap(base, FencePage.chunkBytes)
    }

    @Test func waitReadsTheFencePage() throws {
        let daemon = try FakeDaemon(Self.syncobjHandler)
        let connection = try Connection(adopting: daemon.clientEnd, name: "test")
        let syncobj = try connection.makeSyncobj()
        try publish(daemon.fencePage, value: 4, submitted: 6)
        // Any request would end the connection: these waits send none.
        #expect(try connection.wait(for: [syncobj.point(6), syncobj.point(4)], deadline: 0) == 1)
        let late = code { () throws(ClientError) in
            try connection.wait(for: [syncobj.point(5)], deadline: 0)
        }
        #expect(late == .timeout)
        let absent = code { () throws(ClientError) in
            try connection.wait(for: [syncobj.point(7)], deadline: 0)
        }
        #expect(absent == .invalidArgument)
        let unsubmitted = code { () throws(ClientError) in
            try connection.wait(for: [syncobj.point(7)], flags: .forSubmit, deadline: 0)
        }
        #expect(unsubmitted == .timeout)
        let available = try connection.wait(
            for: [syncobj.point(6)], flags: [.available, .all], deadline: 0)
        #expect(available == 0)
        #expect(connection.isAlive)
        connection.close()
        daemon.join()
    }

    @Test func waitEndsWithTheDaemon() throws {
        let daemon = try FakeDaemon(Self.syncobjHandler)
        let connection = try Connection(adopting: daemon.clientEnd, name: "test")
        let syncobj = try connection.makeSyncobj()
        try publish(daemon.fencePage, value: 0, submitted: 1)
        let codes = Collected<Errno>()
        let waiter = Self.startWaiter(connection, syncobj, codes)
        // The handler ends the connection at the first request that it does not know.
        _ = code { () throws(ClientError) in _ = try connection.status() }
        waiter?.join()
        #expect(codes.all == [.connectionReset])
        daemon.join()
    }

    private static func startWaiter(
        _ connection: Connection, _ syncobj: GPUVMClient.Syncobj,
        _ codes: Collected<Errno>
    ) -> RuntimeThread? {
        RuntimeThread.start(name: "waiter") {
            do throws(ClientError) {
                try connection.wait(for: [syncobj.point(1)], deadline: .max)
            } catch {
                codes.add(error.code)
            }
        }
    }

    // MARK: Finding the daemon

    @Test func socketIsLookedForInOrder() {
        let environment = ["GPUVM_SOCKET": "/a", "XDG_RUNTIME_DIR": "/run/user/7"]
        let find = { (explicit: String?, names: [String]) in
            SocketPath.candidates(explicit: explicit) { names.contains($0) ? environment[$0] : nil }
        }
        #expect(find("/x", ["GPUVM_SOCKET", "XDG_RUNTIME_DIR"]) == ["/x"])
        #expect(find(nil, ["GPUVM_SOCKET", "XDG_RUNTIME_DIR"]) == ["/a"])
        #expect(
            find(nil, ["XDG_RUNTIME_DIR"]) == [
                "/run/user/7/gpuvmd/gpuvmd.sock", "/run/gpuvmd/gpuvmd.sock",
            ])
        #expect(find(nil, []) == ["/run/gpuvmd/gpuvmd.sock"])
    }

    @Test func absentDaemonIsNamedByItsPath() {
        let path = "/tmp/gpuvm-absent-\(getpid()).sock"
        do throws(ClientError) {
            _ = try Connection.connect(path: path, name: "test")
            Issue.record("connected to nobody")
        } catch {
            #expect(error.code == .noSuchFileOrDirectory)
            #expect(error.text.contains(path))
        }
    }
}
