import CHostileClients
import CPlatform
import CWireProtocol
import Fencing
import GPUVMClient
import Glibc
import Synchronization
import TestSupport
import WireProtocol

/// Attacks by memory that the client shares with the daemon.
enum MemoryAttempts {
    static let all = [
        Attempt(name: "resize a buffer's memfd while it is copied", run: resize),
        Attempt(name: "punch holes into a buffer while it is copied", run: punch),
        Attempt(name: "shrink an imported memfd while it is copied", run: shrinkImported),
        Attempt(name: "import what is no sealable memfd", run: importOthers),
        Attempt(name: "messages in memfds without seals", run: unsealedMessages),
        Attempt(name: "change commands while they are executed", run: scribble),
    ]

    private static let commandAddress: UInt64 = 0x7000_0000
    private static let dataAddress: UInt64 = 0x1_0000_0000

    /// A client whose jobs copy within a buffer.
    private final class Copier {
        let connection: Connection
        let vm: VM
        let queue: Queue
        let commands: BufferObject
        let done: GPUVMClient.Syncobj
        var point: UInt64 = 0

        init(_ socket: String, _ name: String) throws {
            connection = try Connection.connect(path: socket, name: name)
            vm = try connection.makeVM(range: 1 << 40)
            commands = try connection.makeBuffer(size: 1 << 16, name: "commands")
            try vm.bind([.map(commands, at: commandAddress, range: 1 << 16)])
            queue = try vm.makeQueue(.copy)
            done = try connection.makeSyncobj()
        }

        /// Submits a copy of the first half of `bytes` to the second.
        func submit(_ bytes: UInt64) throws {
            var writer = CommandWriter()
            writer.copy(from: dataAddress, to: dataAddress + bytes / 2, bytes: bytes / 2)
            writer.end()
            let memory = try commands.map()
            writer.dwords.withUnsafeBytes { memory.copyMemory(from: $0) }
            point += 1
            try queue.exec(
                [Queue.Batch(address: commandAddress, bytes: 0)], signals: [done.point(point)])
        }

        func wait() throws {
            try connection.wait(for: [done.point(point)], deadline: GoodClient.soon())
        }
    }

    private static func resize(_ daemon: DaemonUnderTest, _ tally: Tally) throws {
        let copier = try Copier(daemon.socket, "resize")
        let buffer = try copier.connection.makeBuffer(size: 1 << 20)
        try copier.vm.bind([.map(buffer, at: dataAddress, range: 1 << 20)])
        for round in 0..<200 {
            try copier.submit(1 << 20)
            let size = [0, 4096, 1 << 30][round % 3]
            tally.note(errno: ftruncate(buffer.fd, size) == 0 ? 0 : errno)
            tally.note(errno: -min(0, gpuvm_add_seals(buffer.fd, GPUVM_SEAL_WRITE)))
            let memory = try buffer.map()
            // The client's own mapping is its own affair.
            tally.note(errno: hostile_remap(memory.baseAddress, memory.count, 4096))
            try copier.wait()
        }
        guard tally.count("EPERM") == 400 else { throw Failure("a buffer's memfd gave way") }
    }

    private static func punch(_ daemon: DaemonUnderTest, _ tally: Tally) throws {
        let copier = try Copier(daemon.socket, "punch")
        let buffer = try copier.connection.makeBuffer(size: 1 << 20, placement: .vram)
        try copier.vm.bind([.map(buffer, at: dataAddress, range: 1 << 20)])
        for round in 0..<300 {
            try copier.submit(1 << 20)
            let offset = (round % 16) << 16
            tally.note(errno: hostile_punch(buffer.fd, Int64(offset), 1 << 16))
            try copier.wait()
        }
    }

    private static func shrinkImported(_ daemon: DaemonUnderTest, _ tally: Tally) throws {
        for round in 0..<100 {
            let copier = try Copier(daemon.socket, "shrink")
            // One without the seal: the daemon sets it, or refuses the memory.
            let fd = gpuvm_memfd_create_plain("victim")
            guard fd >= 0, ftruncate(fd, 1 << 20) == 0 else { throw Failure.system("memfd") }
            let racer = Racer { _ = ftruncate(fd, 0) }
            if round & 1 == 1 { racer.start() }
            tally.attempt {
                let buffer = try copier.connection.importBuffer(OwnedFD(dup(fd)), size: 1 << 20)
                try copier.vm.bind([.map(buffer, at: dataAddress, range: 1 << 20)])
                try copier.submit(1 << 20)
                tally.note(errno: ftruncate(fd, 0) == 0 ? 0 : errno)
                try copier.wait()
            }
            racer.stop()
            close(fd)
        }
    }

    private static func importOthers(_ daemon: DaemonUnderTest, _ tally: Tally) throws {
        let raw = try RawConnection(daemon.socket, hello: "import")
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Failure.system("pipe") }
        let file = "\(daemon.directory.path)/file"
        let descriptors = [
            open("/dev/zero", O_RDWR | O_CLOEXEC), open("/proc/self/mem", O_RDWR | O_CLOEXEC),
            open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0o600), ends[0], ends[1],
            gpuvm_eventfd_create(0), dup(raw.socket.rawValue),
        ]
        defer { for fd in descriptors { close(fd) } }
        for fd in descriptors {
            for size in [0, 1, 4096, 1 << 62, UInt64.max] {
                var contents = gpuvm_bo_import()
                contents.size = size
                tally.note(errno: try raw.call(.boImport, contents, fds: [fd]).status)
            }
        }
        guard tally.count("ok") == 0 else { throw Failure("something else became a buffer") }
    }

    private static func unsealedMessages(
        _ daemon: DaemonUnderTest, _ tally: Tally
    ) throws {
        let raw = try RawConnection(daemon.socket, hello: "unsealed")
        let operations = [gpuvm_bind_op](repeating: gpuvm_bind_op(), count: 10_000)
        var bind = gpuvm_vm_bind()
        bind.op_count = 10_000
        for seals in [0, GPUVM_SEAL_SHRINK, GPUVM_SEAL_WRITE, GPUVM_SEAL_SHRINK | GPUVM_SEAL_GROW] {
            for shorter in [false, true] {
                let bytes = raw.message(
                    .vmBind, bind, operations, flags: UInt16(GPUVM_HEADER_EXTERNAL))
                let fd = gpuvm_memfd_create("message", UInt64(bytes.count - 16))
                guard fd >= 0 else { throw Failure.system("memfd") }
                defer { close(fd) }
                _ = bytes[16...].withUnsafeBytes { pwrite(fd, $0.baseAddress, $0.count, 0) }
                if seals & GPUVM_SEAL_SHRINK == 0, shorter { ftruncate(fd, 100) }
                _ = gpuvm_add_seals(fd, seals)
                try raw.send(Array(bytes[..<16]), fds: [fd])
                tally.note(errno: try raw.receive().status)
            }
        }
        guard tally.count("ok") == 0 else { throw Failure("an unsealed message was taken") }
    }

    private static func scribble(_ daemon: DaemonUnderTest, _ tally: Tally) throws {
        let copier = try Copier(daemon.socket, "scribble")
        let data = try copier.connection.makeBuffer(size: 1 << 20)
        try copier.vm.bind([.map(data, at: dataAddress, range: 1 << 20)])
        let memory = try copier.commands.map()
        // @unchecked by address: shared memory, written here and read by engines on purpose.
        let address = UInt(bitPattern: memory.baseAddress)
        let state = Guarded(.leaf, SplitMix64(seed: 0x5c1b))
        let racer = Racer {
            guard let base = UnsafeMutableRawPointer(bitPattern: address) else { return }
            state.withLock { random in
                for _ in 0..<64 {
                    let value = random.next()
                    // Often a header that some engine knows, with lengths that are or are not its.
                    let dword =
                        value & 1 == 0
                        ? UInt32(value >> 32 & 0x7) << 16 | UInt32(value >> 40 & 0x1f)
                        : UInt32(truncatingIfNeeded: value >> 32)
                    base.storeBytes(
                        of: dword, toByteOffset: Int(value >> 8 & 0x3ff) * 4, as: UInt32.self)
                }
            }
        }
        racer.start()
        defer { racer.stop() }
        for index in 0..<1000 {
            let queue = try copier.vm.makeQueue(
                .copy, instance: UInt16(index & 1), timeout: 20_000_000)
            copier.point += 1
            let fence = try queue.exec(
                [Queue.Batch(address: commandAddress + UInt64(index % 64) * 64, bytes: 4096)],
                signals: [copier.done.point(copier.point)])
            try copier.wait()
            tally.note(errno: try copier.connection.fenceInfo(fence).error)
            try queue.close()
        }
    }
}
