import CPlatform
import Glibc
import Testing
import WireProtocol

@Suite("nouveau: open files and streams on a socket")
struct SocketTests {
    @Test("Open, a stream, ioctls, mmap of the buffer's own memory")
    func basics() throws {
        let fixture = try SocketFixture()
        let client = try SocketClient(fixture)
        let stream = try client.stream()
        let version = try stream.call(
            Request.version, Bytes(64).put(16, UInt64(7)),
            [.init(offset: 24, bytes: Bytes(7), isOutput: true)])
        #expect(version.status == 0 && version.result == 0)
        #expect(version.body.u32(8) == 1)
        #expect(version.body.text(16 + 64, 7) == "nouveau")
        #expect(version.body.bytes.count == 16 + 64 + 8)
        let made = try stream.argument(
            Request.gemNew, Bytes(48).put(4, UInt32(4)).put(8, UInt64(8192)))
        // mmap: {offset u64@0, length u64@8, protection@16, flags@20}.
        func mmap(_ offset: UInt64, _ length: UInt64) throws -> SocketClient.Reply {
            let body = Bytes(24).put(0, offset).put(8, length).put(16, UInt32(3))
                .put(20, UInt32(1)).bytes
            try SocketClient.send(
                SocketClient.message(131, serial: 3, body), on: stream.socket)
            return try #require(try SocketClient.receive(stream.socket))
        }
        let mapped = try mmap(made.u64(24) + 4096, 4096)
        #expect(mapped.status == 0 && mapped.body.u32(8) == 0 && mapped.body.u64(0) == 4096)
        let fd = try #require(mapped.fds.first)
        let memory = try MappedMemory(fd, 4096, 4096)
        close(fd)
        memory.bytes[0] = 1
        let beyond = try mmap(made.u64(24), 12288)
        #expect(Int32(bitPattern: beyond.body.u32(8)) == -EINVAL && beyond.fds.isEmpty)
        #expect(try stream.call(Request.getParam, Bytes(16)).result == -EINVAL)
        #expect(try stream.call(0x5401, Bytes(0)).result == -ENOTTY)
        #expect(fixture.server.nouveau.statistics.current.served["gemNew"] == 1)
    }

    @Test("Two streams are one file; a wait of one is ended by a signal of the other")
    func twoStreams() throws {
        let fixture = try SocketFixture()
        let client = try SocketClient(fixture)
        let (one, two) = (try client.stream(), try client.stream())
        let syncobj = try one.argument(Request.syncobjCreate, Bytes(8)).u32(0)
        let handles = TestFile.Block(offset: 0, bytes: Bytes(4).put(0, syncobj))
        try one.send(
            Request.syncobjWait,
            Bytes(40).put(8, Int64.max).put(16, UInt32(1)).put(20, UInt32(2)),
            [handles])
        // The other thread of the program goes on meanwhile.
        _ = try two.argument(Request.getParam, Bytes(16).put(0, UInt64(4)))
        _ = try two.argument(
            Request.syncobjSignal, Bytes(16).put(8, UInt32(1)), [handles])
        let reply = try #require(try SocketClient.receive(one.socket))
        #expect(reply.status == 0 && reply.result == 0)
    }

    @Test("A child's copy of the file keeps it open; the last copy's close ends it")
    func fork() throws {
        let fixture = try SocketFixture()
        let streams: (parent: SocketStream, child: SocketStream)
        do {
            let child: SocketClient
            let handle: UInt32
            do {
                let parent = try SocketClient(fixture)
                // What fork does to the descriptor.
                child = SocketClient(
                    copy: UnixSocket(
                        adopting: try OwnedFD(duplicating: parent.file.rawValue)))
                streams.parent = try parent.stream()
                let made = try streams.parent.argument(
                    Request.gemNew, Bytes(48).put(4, UInt32(4)).put(8, UInt64(4096)))
                handle = made.u32(0)
            }
            // The parent has closed its copy and dropped its stream.
            streams.parent.socket.shutdown()
            streams.child = try child.stream()
            let info = try streams.child.argument(Request.gemInfo, Bytes(40).put(0, handle))
            #expect(info.u64(8) == 4096)
            #expect(fixture.device.status().clients == 1)
            // Held to here: the last copy.
            withExtendedLifetime(child) {}
        }
        #expect(
            try SocketClient.receive(streams.child.socket) == nil,
            "the daemon ends the streams of a file that nobody has open")
        #expect(fixture.isEmptyInTime())
    }

    @Test("The end of the file releases buffers, waits, channels and streams")
    func end() throws {
        let fixture = try SocketFixture()
        do {
            let client = try SocketClient(fixture)
            let (one, two) = (try client.stream(), try client.stream())
            _ = try one.argument(
                Request.vmInit, Bytes(16).put(0, UInt64(1) << 39).put(8, UInt64(1) << 39))
            let made = try one.argument(
                Request.gemNew, Bytes(48).put(4, UInt32(0x2e)).put(8, UInt64(1 << 20)))
            _ = try one.argument(
                Request.vmBind, Bytes(40).put(0, UInt32(1)),
                [
                    .init(
                        offset: 32,
                        bytes: BindOp.map(made.u32(0), at: 0x10000, 1 << 20).bytes)
                ])
            _ = try one.argument(Request.channelAlloc, Bytes(88))
            let syncobj = try two.argument(Request.syncobjCreate, Bytes(8)).u32(0)
            let handles = TestFile.Block(offset: 0, bytes: Bytes(4).put(0, syncobj))
            try two.send(
                Request.syncobjWait,
                Bytes(40).put(8, Int64.max).put(16, UInt32(1))
                    .put(20, UInt32(2)), [handles])
            #expect(fixture.device.status().vramUsed == 1 << 20)
            client.file.shutdown()
        }
        #expect(fixture.isEmptyInTime())
    }

    @Test("A large VM_BIND goes by memfd, and its reply is short")
    func external() throws {
        let fixture = try SocketFixture()
        let client = try SocketClient(fixture)
        let stream = try client.stream()
        _ = try stream.argument(
            Request.vmInit, Bytes(16).put(0, UInt64(1) << 39).put(8, UInt64(1) << 39))
        let made = try stream.argument(
            Request.gemNew, Bytes(48).put(4, UInt32(0x2c)).put(8, UInt64(4096)))
        let operations = (0..<4096).map {
            BindOp.map(made.u32(0), at: 0x100_0000 + UInt64($0) * 8192, 4096).bytes
        }
        let body = SocketStream.body(
            Request.vmBind, Bytes(40).put(0, UInt32(4096)),
            [.init(offset: 32, bytes: .joined(operations))])
        let memfd = try OwnedFD.memfd(name: "test", bytes: UInt64(body.count))
        #expect(
            body.withUnsafeBytes { pwrite(memfd.rawValue, $0.baseAddress, $0.count, 0) }
                == body.count)
        #expect(gpuvm_add_seals(memfd.rawValue, 2 | 4 | 8) == 0)
        // GPUVM_HEADER_EXTERNAL is 1; the length is the body's.
        let header = Bytes(16).put(0, UInt32(body.count)).put(4, UInt16(130)).put(6, UInt16(1))
            .put(8, UInt32(5))
        try SocketClient.send(header.bytes, fds: [memfd.rawValue], on: stream.socket)
        let reply = try #require(try SocketClient.receive(stream.socket))
        #expect(reply.status == 0 && reply.result == 0)
        #expect(fixture.device.status().mappings == 4096)
    }

    @Test("Descriptors travel with the calls that name them")
    func descriptors() throws {
        let fixture = try SocketFixture()
        let client = try SocketClient(fixture)
        let stream = try client.stream()
        let syncobj = try stream.argument(
            Request.syncobjCreate, Bytes(8).put(4, UInt32(1))
        ).u32(0)
        let exported = try stream.call(Request.syncobjHandleToFD, Bytes(16).put(0, syncobj))
        let fd = try #require(exported.fds.first)
        defer { close(fd) }
        let imported = try stream.argument(
            Request.syncobjFDToHandle, Bytes(16), fds: [fd])
        #expect(imported.u32(0) != syncobj && imported.u32(0) != 0)
    }

    @Test("What is wrong is refused, and costs the sender only")
    func hostile() throws {
        let fixture = try SocketFixture()
        let bystander = try SocketClient(fixture)
        let good = try bystander.stream()
        // Another version, another node, another magic: an errno, and the connection ends.
        for body in [
            SocketClient.openBody(major: 9), SocketClient.openBody(node: 1),
            [UInt8](repeating: 0, count: 48), [],
        ] {
            let socket = try fixture.connect()
            try SocketClient.send(SocketClient.message(128, serial: 1, body), on: socket)
            #expect(try #require(try SocketClient.receive(socket)).status != 0)
            #expect(try SocketClient.receive(socket) == nil)
        }
        let client = try SocketClient(fixture)
        let bodies: [[UInt8]] = [
            [], [UInt8](repeating: 0xff, count: 16),
            // An argument of another size than the request's.
            Bytes(16).put(0, Request.getParam).put(4, UInt32(8)).bytes
                + [UInt8](repeating: 0, count: 8),
            // No argument where one is announced.
            Bytes(16).put(0, Request.getParam).put(4, UInt32(16)).bytes,
            // Nine blocks; a block beyond all limits; one that hangs on itself.
            Bytes(16).put(0, UInt32(0x6400)).put(8, UInt32(9)).bytes
                + [UInt8](repeating: 0, count: 144),
            Bytes(32).put(0, UInt32(0x6400)).put(8, UInt32(1)).put(24, UInt32.max)
                .put(28, UInt32(2)).bytes,
            Bytes(32).put(0, UInt32(0x6400)).put(8, UInt32(1)).put(16, UInt32(1)).bytes,
            // Bytes behind the end.
            SocketStream.body(Request.getParam, Bytes(16), []) + [0, 0, 0, 0, 0, 0, 0, 0],
        ]
        let stream = try client.stream()
        for body in bodies {
            try SocketClient.send(
                SocketClient.message(130, serial: 4, body), on: stream.socket)
            let reply = try #require(try SocketClient.receive(stream.socket))
            #expect(reply.status != 0, "\(body.prefix(32))")
        }
        // An opcode of the native protocol on a stream, a request on the file itself.
        try SocketClient.send(SocketClient.message(16, serial: 4, []), on: stream.socket)
        #expect(try #require(try SocketClient.receive(stream.socket)).status != 0)
        let syncobj = try stream.argument(Request.syncobjCreate, Bytes(8)).u32(0)
        // A request before the reply to the last one ends the stream.
        let handles = TestFile.Block(offset: 0, bytes: Bytes(4).put(0, syncobj))
        for _ in 0..<2 {
            try stream.send(
                Request.syncobjWait,
                Bytes(40).put(8, Int64.max).put(16, UInt32(1))
                    .put(20, UInt32(2)), [handles])
        }
        while try SocketClient.receive(stream.socket) != nil {}
        try SocketClient.send(
            SocketClient.message(130, serial: 4, bodies[1]), on: client.file)
        #expect(try SocketClient.receive(client.file) == nil)
        // A descriptor that is no socket ends the file as well.
        let third = try SocketClient(fixture)
        let null = open("/dev/null", O_RDWR | O_CLOEXEC)
        defer { close(null) }
        try SocketClient.send(
            SocketClient.message(129, serial: 2, []), fds: [null], on: third.file)
        #expect(try SocketClient.receive(third.file) == nil)
        _ = try good.argument(Request.getParam, Bytes(16).put(0, UInt64(4)))
    }
}

extension SocketClient {
    /// The file as a child has it.
    init(copy: UnixSocket) { file = copy }
}
