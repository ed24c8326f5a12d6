import CPlatform
import CWireProtocol
import Fencing
import GPUVMClient
import Glibc
import Testing
import WireProtocol

/// Wrong messages by hand: each gets its errno, a sentence and a log line, and changes nothing.
@Suite struct BadInputTests {
    enum Group: CaseIterable, Sendable {
        case framing, buffers, handles, vms, binds, queues, syncobjs, introspection
    }

    @Test(arguments: Group.allCases) func isRefused(_ group: Group) throws {
        let daemon = try TestDaemon()
        let bystander = try daemon.connect("bystander")
        let bench = try Workbench(bystander)
        try populate(bench)
        let attacker = try Attacker(daemon)
        let messages = BadMessages(attacker: attacker, fds: try Descriptors())
        let list =
            switch group {
            case .framing: messages.framing
            case .buffers: messages.buffers
            case .handles: messages.handles
            case .vms: messages.vms
            case .binds: messages.binds
            case .queues: messages.queues
            case .syncobjs: messages.syncobjs
            case .introspection: messages.introspection
            }
        let observer = Bystander(bystander)
        let view = try observer.view()
        let syncState = try Self.syncState(attacker)
        for message in list {
            let lines = daemon.log.count
            let reply = try attacker.raw.call(bytes: message.bytes, fds: message.fds)
            #expect(reply.status == message.error, "\(message.name): \(reply.text)")
            #expect(reply.text.utf8.count > 10 && reply.fds == 0, "\(message.name)")
            let added = daemon.log.lines(from: lines)
            // That a wait's time passes is an answer and no mistake.
            let expected = message.error == ETIME ? 0 : 1
            #expect(added.count == expected, "\(message.name): \(added)")
            #expect(added.allSatisfy { $0.contains("request refused") }, "\(message.name)")
            #expect(try observer.view() == view, "\(message.name) has changed something")
        }
        #expect(try Self.syncState(attacker) == syncState)
        // And everybody's work goes on.
        #expect(try attacker.raw.call(.status).status == 0)
        #expect(try bench.run { $0.nop() } == 0)
    }

    /// The other client has at least 12 objects of each kind, so that handle 12 is its own.
    private func populate(_ bench: Workbench) throws {
        for _ in 0..<14 {
            _ = try bench.connection.makeBuffer(size: 4096)
            _ = try bench.connection.makeVM(range: 1 << 30)
            _ = try bench.vm.makeQueue(.bind)
            _ = try bench.connection.makeSyncobj(signalled: true)
        }
    }

    /// Whether the attacker's own objects are still signalled, and how far.
    private static func syncState(_ attacker: Attacker) throws -> [Int32] {
        try [
            gpuvm_sync(handle: attacker.syncobj, flags: 0, point: 0),
            gpuvm_sync(handle: attacker.timeline, flags: 1, point: 5),
            gpuvm_sync(handle: attacker.timeline, flags: 1, point: 6),
        ].map { sync in
            try attacker.raw.call(
                .syncobjWait, gpuvm_syncobj_wait(count: 1, flags: 0, deadline: 1), array: [sync]
            ).status
        }
    }

    @Test func externalMessagesAreCheckedBeforeTheyAreRead() throws {
        let daemon = try TestDaemon()
        let observer = Bystander(try daemon.connect("bystander"))
        let attacker = try Attacker(daemon)
        let fds = try Descriptors()
        let body = RawClient.body(gpuvm_handle(handle: attacker.bo, reserved: 0))
        let opcode = Opcode.boInfo.rawValue
        let view = try observer.view()
        func external(_ length: UInt32, inline: [UInt8] = []) -> [UInt8] {
            RawClient.message(opcode, inline, length: length, flags: GPUVM_HEADER_EXTERNAL)
        }
        func send(_ bytes: [UInt8], _ fds: [Int32]) throws -> Int32 {
            let lines = daemon.log.count
            let reply = try attacker.raw.call(bytes: bytes, fds: fds)
            #expect((reply.status == 0) == (daemon.log.count == lines), "\(reply.text)")
            #expect(try observer.view() == view)
            return reply.status
        }
        let good = try Descriptors.memfd(body, seals: Descriptors.externalSeals)
        #expect(try send(external(8), [good.rawValue]) == 0)
        #expect(try send(external(8), []) == EINVAL)
        #expect(try send(external(8), [good.rawValue, fds.null]) == EINVAL)
        #expect(try send(external(8, inline: body), [good.rawValue]) == EINVAL)
        #expect(try send(external(16), [good.rawValue]) == EINVAL, "longer than the file")
        #expect(try send(external(0), [good.rawValue]) == EMSGSIZE)
        #expect(try send(external(GPUVM_MAX_EXTERNAL + 1), [good.rawValue]) == EMSGSIZE)
        #expect(try send(external(.max), [good.rawValue]) == EMSGSIZE)
        for seals in [0, GPUVM_SEAL_SHRINK, GPUVM_SEAL_WRITE, GPUVM_SEAL_SHRINK | 0x10] {
            let memfd = try Descriptors.memfd(body, seals: seals)
            #expect(try send(external(8), [memfd.rawValue]) == EINVAL, "seals \(seals)")
        }
        for fd in [fds.pipe, fds.null, fds.directory, fds.socket, fds.file, fds.sharedMemoryFile] {
            #expect(try send(external(8), [fd]) == EINVAL)
        }
        let short = try Descriptors.memfd(Array(body.dropLast()), seals: Descriptors.externalSeals)
        #expect(try send(external(7), [short.rawValue]) == EINVAL, "cut short inside the memfd")
        #expect(try attacker.raw.call(.status).status == 0)
    }

    @Test func moreDescriptorsThanAMessageMayHave() throws {
        let daemon = try TestDaemon()
        let attacker = try Attacker(daemon)
        let fds = try Descriptors()
        let body = RawClient.body(gpuvm_handle(handle: attacker.bo, reserved: 0))
        let bytes = RawClient.message(Opcode.boInfo.rawValue, body)
        for count in [1, 16] {
            let reply = try attacker.raw.call(
                bytes: bytes, fds: [Int32](repeating: fds.null, count: count))
            #expect(reply.status == EINVAL)
        }
        for count in [17, 100, 253] {
            try attacker.raw.sendMany(bytes, [Int32](repeating: fds.null, count: count))
            let reply = try attacker.raw.receive()
            #expect(reply.status == EINVAL, "\(count) descriptors: \(reply.text)")
        }
        #expect(try attacker.raw.call(.status).status == 0)
    }

    @Test func nothingBeforeHello() throws {
        let daemon = try TestDaemon()
        let observer = Bystander(try daemon.connect("bystander"))
        let fds = try Descriptors()
        let view = try observer.view()
        let raw = try RawClient(daemon.path)
        for opcode in Opcode.allCases where opcode != .hello {
            let shape = opcode.shapes.request
            let lines = daemon.log.count
            let reply = try raw.call(
                bytes: RawClient.message(
                    opcode.rawValue, [UInt8](repeating: 0, count: shape.fixedBytes)),
                fds: [Int32](repeating: fds.memfd, count: shape.fds.lowerBound))
            #expect(reply.status == EPROTO, "\(opcode): \(reply.text)")
            #expect(daemon.log.count == lines + 1)
        }
        var hello = gpuvm_hello()
        hello.magic = GPUVM_PROTOCOL_MAGIC
        hello.major = 1
        func bad(_ change: (inout gpuvm_hello) -> Void) throws -> Int32 {
            var wrong = hello
            change(&wrong)
            return try raw.call(.hello, wrong).status
        }
        #expect(try bad { $0.magic = 0 } == EPROTO)
        #expect(try bad { $0.major = 0 } == EPROTO)
        #expect(try bad { $0.major = 2 } == EPROTO)
        #expect(try bad { $0.flags = 1 } == EINVAL)
        #expect(try bad { $0.name.0 = CChar(bitPattern: 0xc0) } == EINVAL)
        #expect(try observer.view() == view)
        // A newer minor version is no reason to refuse.
        hello.minor = 9
        #expect(try raw.call(.hello, hello).status == 0)
        #expect(try raw.call(.status).status == 0)
    }

    @Test func anEmptyMessageIsAnsweredAndEndsNothing() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect("bystander")
        let attacker = try Attacker(daemon)
        #expect(send(attacker.raw.socket.rawValue, nil, 0, Int32(MSG_NOSIGNAL)) == 0)
        let answer = try attacker.raw.receive()
        #expect(answer.status == EINVAL)
        #expect(try attacker.raw.call(.status).status == 0, "the connection goes on")
        #expect(try connection.status().clients == 2)
    }

    @Test func extremeButRightNumbersAreServed() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        let vm = try connection.makeVM(start: 0, range: 1 << 48)
        try vm.bind([.mapNull(at: 1 << 48 - 4096, range: 4096)])
        let id = try #require(try connection.vms().first).id
        #expect(
            try connection.walk(vm: id, address: 1 << 48 - 1).result
                == GPUVM_WALK_NULL.rawValue)
        // No deadline at all, and one that has passed for ever.
        let queue = try vm.makeQueue(.copy, timeout: .max)
        let object = try connection.makeSyncobj()
        _ = try queue.exec([], signals: [object.point(.max)])
        try connection.wait(for: [object.point(.max)], deadline: .max)
        #expect(try object.query() == .max)
        _ = try connection.makeBuffer(size: 4096, name: String(repeating: "ä", count: 16))
        try vm.bind([])
        try vm.close()
    }
}
