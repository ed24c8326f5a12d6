import CWireProtocol
import Fencing
import GPUVMClient
import Glibc
import Testing

@testable import Device
@testable import GPUVMDaemon
@testable import WireProtocol

/// Who may connect, how often and how fast; strangers are neither root nor the daemon's user.
@Suite struct AccessTests {
    /// The error of a request that makes no client.
    private func refusal(_ raw: RawClient) throws -> (Int32, String) {
        var hello = gpuvm_hello()
        hello.magic = GPUVM_PROTOCOL_MAGIC
        hello.major = UInt16(GPUVM_PROTOCOL_MAJOR)
        let reply = try raw.call(.hello, hello)
        return (reply.status, reply.text)
    }

    @Test func whoIsNotListedIsToldSo() throws {
        let daemon = try TestDaemon { $0.access.users = "0, 12345" }
        let stranger = try daemon.strangerSocket(uid: 65_534)
        let reply = try refusal(RawClient(adopting: stranger))
        #expect(reply.0 == EACCES)
        #expect(reply.1.contains("access.users"), "\(reply.1)")
        let lines = daemon.log.lines().filter { $0.contains("connection refused") }
        #expect(lines.count == 1)
        #expect(lines[0].hasPrefix("warning"))
        for part in ["uid=65534", "gid=65533", "pid=\(getpid())"] {
            #expect(lines[0].contains(part), "\(lines[0])")
        }
        // The same, if it comes as an open file of a DRM node.
        let file = RawClient(adopting: try daemon.strangerSocket(uid: 65_534))
        var open = gpuvm_drm_open()
        open.magic = GPUVM_PROTOCOL_MAGIC
        open.major = UInt16(GPUVM_PROTOCOL_MAJOR)
        open.node = GPUVM_DRM_RENDER.rawValue
        let answer = try file.call(
            bytes: RawClient.message(
                DRMOpcode.open.rawValue, RawClient.body(open), serial: 77))
        #expect(answer.status == EACCES && answer.serial == 77)
        // What is listed is let in; so is the daemon's own user.
        let listed = RawClient(adopting: try daemon.strangerSocket(uid: 12_345))
        try listed.hello("listed")
        #expect(try daemon.connect("own").status().clients == 2)
    }

    @Test func supplementaryGroupsCount() throws {
        // The kernel's record of this process's groups, as getgroups(2) has them.
        var groups = [gid_t](repeating: 0, count: 1024)
        let count = Int(getgroups(Int32(groups.count), &groups))
        let own = groups.prefix(max(0, count)).map { UInt32($0) }
        let (one, other) = try UnixSocket.pair()
        #expect(try Set(one.peerGroups()) == Set(own))
        withExtendedLifetime(other) {}
        guard let group = own.first(where: { $0 != 65_533 }) else { return }
        let daemon = try TestDaemon { $0.access.groups = "\(group)" }
        try RawClient(adopting: daemon.strangerSocket(uid: 65_534)).hello("member")
        let closed = try TestDaemon { $0.access.groups = "4000000000" }
        let stranger = RawClient(adopting: try closed.strangerSocket(uid: 65_534))
        #expect(try refusal(stranger).0 == EACCES)
    }

    @Test func refusedOnesTakeNoPlaceAndCannotPileUp() throws {
        let daemon = try TestDaemon {
            $0.access.users = "0"
            $0.limits.maxClients = 2
        }
        // Those that say nothing: more than are answered at a time.
        let silent = try (0..<RefusedConnection.maximum + 4).map { _ in
            try daemon.strangerSocket(uid: 65_534)
        }
        let first = try daemon.connect("first")
        let second = try daemon.connect("second")
        #expect(try second.status().clients == 2)
        for socket in silent { #expect(becomesReadable(socket.rawValue)) }
        first.close()
    }

    @Test func privilegesAreGiven() throws {
        let daemon = try TestDaemon { $0.access.privilegedUsers = "12345" }
        for (uid, code) in [(12_345, nil), (65_534, EPERM)] as [(UInt32, Int32?)] {
            let socket = try daemon.strangerSocket(uid: uid)
            let connection = try Connection(adopting: socket, name: "\(uid)")
            let vm = try connection.makeVM(range: 1 << 30)
            #expect(errno { _ = try vm.makeQueue(.copy, priority: .high) } == code)
        }
    }

    @Test func aReloadHoldsForThoseWhoCome() throws {
        let daemon = try TestDaemon()
        let early = RawClient(adopting: try daemon.strangerSocket(uid: 65_534))
        try early.hello("early")
        var changed = daemon.daemon.configuration
        changed.access.users = "0"
        let new = changed
        daemon.daemon.reload { () throws(ConfigurationError) in new }
        let late = RawClient(adopting: try daemon.strangerSocket(uid: 65_534))
        #expect(try refusal(late).0 == EACCES)
        #expect(try early.call(.status).status == 0)
    }

    @Test func oneUserCannotTakeAllConnections() throws {
        let daemon = try TestDaemon { $0.limits.maxClientsPerUser = 2 }
        let clients = try (0..<2).map { _ in
            RawClient(adopting: try daemon.strangerSocket(uid: 65_534))
        }
        for (index, client) in clients.enumerated() { try client.hello("\(index)") }
        let third = RawClient(adopting: try daemon.strangerSocket(uid: 65_534))
        let reply = try refusal(third)
        #expect(reply.0 == EUSERS && reply.1.contains("2 connections"), "\(reply)")
        // Others have their own, and privileged ones any number.
        try RawClient(adopting: daemon.strangerSocket(uid: 65_533)).hello("other")
        for index in 0..<4 { _ = try daemon.connect("own-\(index)") }
        clients[0].socket.shutdown()
        // The daemon's end is what counts.
        #expect(daemon.eventually { daemon.log.lines().contains { $0.contains("client gone") } })
        #expect(
            try daemon.eventually {
                let next = RawClient(adopting: try daemon.strangerSocket(uid: 65_534))
                return try refusal(next).0 == 0
            })
    }

    @Test func whoSaysNothingIsClosed() throws {
        let daemon = try TestDaemon { $0.limits.helloTimeout = 50_000_000 }
        let talking = try daemon.connect("talking")
        let raw = try RawClient(daemon.path)
        #expect(becomesReadable(raw.socket.rawValue))
        #expect(!raw.discardReplies())
        #expect(daemon.log.lines().contains { $0.contains("no request in time") })
        #expect(try talking.status().clients == 1)
    }

    @Test func waitsHaveAQuota() throws {
        let daemon = try TestDaemon { $0.quotas.waits = 3 }
        let raw = try RawClient(daemon.path)
        try raw.hello("waiter")
        let handle = try Attacker.makeSyncobj(raw, signalled: false)
        let wait = gpuvm_syncobj_wait(
            count: 1, flags: GPUVM_WAIT_FOR_SUBMIT, deadline: .max)
        let target = gpuvm_sync(handle: handle, flags: 0, point: 0)
        for _ in 0..<3 { try raw.send(.syncobjWait, wait, array: [target]) }
        let serial = try raw.send(.syncobjWait, wait, array: [target])
        let reply = try raw.receive()
        #expect(reply.serial == serial && reply.status == EAGAIN)
        #expect(reply.text.contains("3 waits"), "\(reply.text)")
    }

    @Test func whoAsksTooFastIsSlowedAndNobodyElse() throws {
        let daemon = try TestDaemon {
            $0.quotas.requestsPerSecond = 20
            $0.quotas.requestBurst = 30
        }
        let fast = try RawClient(daemon.path)
        try fast.hello("fast")
        let start = Runtime.now()
        // One was HELLO: with 29 more the bucket is empty, and 40 further ones take two seconds.
        let count = 29 + 40
        for _ in 0..<count { try fast.send(RawClient.message(Opcode.status.rawValue, [])) }
        // 25 of another client come from its own bucket, meanwhile.
        let slow = try daemon.connect("slow")
        for _ in 0..<25 { _ = try slow.status() }
        let meanwhile = Runtime.now() - start
        // Not one request fails for it.
        for _ in 0..<count { #expect(try fast.receive().status == 0) }
        let taken = Runtime.now() - start
        // The last one is answered before its own wait.
        #expect(taken >= 1_900_000_000, "\(taken) ns")
        #expect(meanwhile < taken)
        let lines = daemon.log.lines().filter { $0.contains("slowed down") }
        #expect(lines.count == 1 && lines[0].contains("name=fast"), "\(lines)")
        // Who dies while it is slowed down is gone at once, whatever it has asked for.
        for _ in 0..<200 { try fast.send(RawClient.message(Opcode.status.rawValue, [])) }
        fast.socket.shutdown()
        let end = Runtime.now()
        #expect(daemon.eventually { daemon.departures == 1 })
        #expect(Runtime.now() - end < 5_000_000_000)
    }

    @Test func theStreamsOfAnOpenFileHaveOnePace() throws {
        let daemon = try TestDaemon {
            $0.quotas.requestsPerSecond = 100
            $0.quotas.requestBurst = 20
        }
        let file = try RawClient(daemon.path)
        var open = gpuvm_drm_open()
        open.magic = GPUVM_PROTOCOL_MAGIC
        open.major = UInt16(GPUVM_PROTOCOL_MAJOR)
        open.node = GPUVM_DRM_RENDER.rawValue
        let opened = try file.call(
            bytes: RawClient.message(DRMOpcode.open.rawValue, RawClient.body(open)))
        #expect(opened.status == 0)
        let streams = try (0..<2).map { _ in
            let (here, there) = try UnixSocket.pair()
            try file.send(
                RawClient.message(DRMOpcode.stream.rawValue, []), fds: [there.rawValue])
            return RawClient(adopting: here)
        }
        // Each is refused, as it has no body, and counts as ten. After the tenth 80 are owed, which
        // the twelfth, on the same stream, waits for: 0.8 s. Alone a stream would wait for 0.3 s.
        let start = Runtime.now()
        for index in 0..<12 {
            let reply = try streams[index % 2].call(
                bytes: RawClient.message(DRMOpcode.ioctl.rawValue, []))
            #expect(reply.status == EINVAL)
        }
        #expect(Runtime.now() - start >= 700_000_000)
        #expect(daemon.log.lines().count { $0.contains("slowed down") } == 1)
    }

    @Test func aStrangerHoldsNoEngineForEver() throws {
        let daemon = try TestDaemon { $0.device.jobTimeout = 50_000_000 }
        let socket = try daemon.strangerSocket(uid: 65_534)
        let bench = try Workbench(
            try Connection(adopting: socket, name: "endless"), timeout: .max)
        #expect(try bench.run { $0.jump(to: Workbench.commandAddress) } == ETIME)
        // The daemon's user knows what he does: a minute is not over yet.
        let own = try Workbench(try daemon.connect("own"), timeout: 60_000_000_000)
        try own.block(on: 0, signals: [own.done.point(1)])
        #expect(
            errno {
                try own.connection.wait(
                    for: [own.done.point(1)], deadline: Runtime.deadline(after: 200_000_000))
            } == ETIME)
        try own.semaphores.map().storeBytes(of: 1, as: UInt64.self)
        try own.connection.wait(for: [own.done.point(1)], deadline: soon())
    }
}
