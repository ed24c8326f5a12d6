import CPlatform
import CWireProtocol
import Fencing
import GPUVMClient
import Glibc
import Testing
import WireProtocol

/// Requests that have been carried out are answered so, whatever the daemon lacks for the reply.
@Suite struct ReplyTests {
    /// A daemon of its own process, whose descriptors can be counted and rationed.
    private struct Ration {
        private let pid: Int32
        /// prlimit(2) is hidden from Swift by a feature macro of the C library.
        private typealias Limit =
            @convention(c) (
                Int32, Int32, UnsafePointer<rlimit>?, UnsafeMutablePointer<rlimit>?
            ) -> Int32
        private let limit: Limit
        private let before: rlimit

        init(_ process: DaemonProcess) throws {
            pid = process.process.pid
            let symbol = try #require(dlsym(nil, "prlimit"))
            limit = unsafeBitCast(symbol, to: Limit.self)
            var old = rlimit()
            try #require(limit(pid, Int32(RLIMIT_NOFILE.rawValue), nil, &old) == 0)
            before = old
        }

        /// Leaves exactly `count` numbers for new descriptors.
        func leave(_ count: Int) throws {
            // The daemon closes the pipe of its readiness right after it has said so, and what the C
            // library reads when a thread first allocates; on a busy machine that takes its time.
            let deadline = Runtime.deadline(after: 10_000_000_000)
            while hasPipe(), Runtime.now() < deadline { sched_yield() }
            var open = try openNumbers()
            var equalSince = Runtime.now()
            while Runtime.now() < min(deadline, equalSince + 50_000_000) {
                sched_yield()
                let now = try openNumbers()
                if now != open { (open, equalSince) = (now, Runtime.now()) }
            }
            var end = 0
            var free = 0
            while true {
                if !open.contains(end) {
                    if free == count { break }
                    free += 1
                }
                end += 1
            }
            try set(rlimit(rlim_cur: rlim_t(end), rlim_max: before.rlim_max))
        }

        private func openNumbers() throws -> Set<Int> {
            let directory = try #require(opendir("/proc/\(pid)/fd"))
            defer { closedir(directory) }
            var open = Set<Int>()
            while let entry = readdir(directory) {
                let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                    String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
                }
                if let number = Int(name) { open.insert(number) }
            }
            return open
        }

        private func hasPipe() -> Bool {
            (3..<64).contains { number in
                var target = [UInt8](repeating: 0, count: 64)
                let count = target.withUnsafeMutableBytes {
                    readlink("/proc/\(pid)/fd/\(number)", $0.baseAddress!, $0.count)
                }
                return count > 0 && target.starts(with: "pipe:".utf8)
            }
        }

        func lift() throws { try set(before) }

        private func set(_ new: rlimit) throws {
            var new = new
            try #require(limit(pid, Int32(RLIMIT_NOFILE.rawValue), &new, nil) == 0)
        }
    }

    private func buffer(_ raw: RawClient) throws -> RawClient.Reply {
        var create = gpuvm_bo_create()
        create.size = 1 << 16
        return try raw.call(.boCreate, create)
    }

    @Test func aBufferNeedsOneDescriptor() throws {
        let daemon = try DaemonProcess()
        let raw = try RawClient(daemon.path)
        try raw.hello("client")
        let before = try daemon.connect("observer")
        let counts = try daemon.counts(before)
        let ration = try Ration(daemon)
        try ration.leave(1)
        let made = try buffer(raw)
        #expect(made.status == 0 && made.fds == 1, "\(made.text)")
        // None is left: nothing is made, and nothing stays behind.
        let refused = try buffer(raw)
        #expect(refused.status == EMFILE && refused.fds == 0)
        let handle = try made.contents(gpuvm_bo_reply.self).handle
        let exported = try raw.call(.boExport, gpuvm_handle(handle: handle, reserved: 0))
        #expect(exported.status == 0 && exported.fds == 1, "\(exported.text)")
        try ration.lift()
        #expect(try before.status().bos == counts.bos + 1)
        let closed = try raw.call(.boClose, gpuvm_handle(handle: handle, reserved: 0))
        #expect(closed.status == 0)
        #expect(try daemon.settle(before, to: counts) == counts)
    }

    @Test func aHelloThatFailedCanBeRepeated() throws {
        let daemon = try DaemonProcess()
        let observer = try daemon.connect("observer")
        let raw = try RawClient(daemon.path)
        // Has the connection accepted before the ration.
        #expect(try raw.call(.status).status == EPROTO)
        let counts = try daemon.counts(observer)
        let ration = try Ration(daemon)
        try ration.leave(0)
        for _ in 0..<3 {
            // What was freed meanwhile is nobody's either.
            try ration.leave(0)
            var hello = gpuvm_hello()
            hello.magic = GPUVM_PROTOCOL_MAGIC
            hello.major = UInt16(GPUVM_PROTOCOL_MAJOR)
            #expect(try raw.call(.hello, hello).status == EMFILE)
            #expect(try observer.status().clients == counts.clients)
            #expect(try raw.call(.status).status == EPROTO)
        }
        try ration.lift()
        try raw.hello("client")
        #expect(
            try observer.clients().map { WireName.display($0.name) }.sorted() == [
                "client", "observer",
            ])
    }

    @Test func aSyncobjInANewChunkNeedsADescriptor() throws {
        let daemon = try DaemonProcess()
        let raw = try RawClient(daemon.path)
        let slots = try raw.hello("client").fence_slots_per_chunk
        let observer = try daemon.connect("observer")
        let create = gpuvm_syncobj_create(flags: 0, reserved: 0)
        for _ in 0..<slots { #expect(try raw.call(.syncobjCreate, create).fds == 0) }
        let counts = try daemon.counts(observer)
        let ration = try Ration(daemon)
        try ration.leave(0)
        #expect(try raw.call(.syncobjCreate, create).status == EMFILE)
        try ration.leave(1)
        let made = try raw.call(.syncobjCreate, create)
        #expect(made.status == 0 && made.fds == 1, "\(made.text)")
        #expect(try raw.call(.syncobjCreate, create).fds == 0)
        try ration.lift()
        #expect(try observer.status().syncobjs == counts.syncobjs + 2)
    }

    @Test(arguments: [0, GPUVM_VM_BIND_ASYNC]) func aBindIsAnsweredWithoutItsOperations(
        flags: UInt32
    ) throws {
        let daemon = try DaemonProcess()
        let raw = try RawClient(daemon.path)
        let connection = try Connection(adopting: raw.duplicate(), name: "client")
        let vm = try connection.makeVM(range: 1 << 40)
        // 1000 records are 112,000 bytes: too long for the socket, so they go by memfd.
        let count = 1000
        let operations = (0..<UInt64(count)).map {
            BindOperation.mapNull(at: $0 << 13, range: 4096).raw
        }
        var bind = gpuvm_vm_bind()
        bind.vm = vm.handle
        bind.flags = flags | GPUVM_VM_BIND_RETURN_OPS
        bind.op_count = UInt32(count)
        let ration = try Ration(daemon)
        try ration.leave(0)
        let reply = try raw.call(.vmBind, bind, array: operations)
        let head = try reply.contents(gpuvm_vm_bind_reply.self)
        #expect(reply.fds == 0 && reply.body.count == MemoryLayout<gpuvm_vm_bind_reply>.size)
        #expect(head.op_count == 0 && head.ops_omitted == UInt32(count))
        #expect(head.fence_context != 0 && head.fence_sequence != 0)
        try ration.lift()
        #expect(try connection.status().mappings == UInt64(count))
        // Next time there is a descriptor: each map replaces one.
        let again = try vm.bind(operations.map { BindOperation($0) }, returningOperations: true)
        #expect(again.operations.count == 2 * count && again.omittedOperations == 0)
    }

    @Test func aBindOfMoreOperationsThanOneReplyCarries() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        let vm = try connection.makeVM(range: 1 << 40)
        // The header's numbers: 16 MiB less 24 bytes, by 112.
        let carried = 149_796
        let maps = 600
        let rounds = 250
        try vm.bind((0..<UInt64(maps)).map { .mapNull(at: $0 << 13, range: 4096) })
        let prefetches = (0..<rounds).map { _ in
            BindOperation.prefetch(at: 0, range: UInt64(maps) << 13)
        }
        let result = try vm.bind(prefetches, returningOperations: true)
        #expect(result.operations.count == carried)
        #expect(result.omittedOperations == maps * rounds - carried)
        // The first ones, in their order.
        for (index, record) in result.operations.enumerated() {
            let isRight =
                record.request == index / maps
                && record.mapping.address == UInt64(index % maps) << 13
                && record.kind == GPUVM_OP_PREFETCH.rawValue
            try #require(isRight, "record \(index): \(record)")
        }
        let few = try vm.bind(Array(prefetches[..<2]), returningOperations: true)
        #expect(few.operations.count == 2 * maps && few.omittedOperations == 0)
    }
}
