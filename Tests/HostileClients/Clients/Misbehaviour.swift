import CWireProtocol
import GPUVMClient
import Glibc
import TestSupport
import WireProtocol

/// A way to be a bad client; each goes on until its process is killed.
enum Misbehaviour: String, CaseIterable {
    /// Connects and says nothing.
    case halfOpen = "half-open"
    /// Asks, and reads no reply.
    case deaf
    /// Sends random bytes at full speed.
    case garbage
    /// Sends the longest arrays that there can be.
    case hugeArrays = "huge-arrays"
    /// Sends its messages byte by byte.
    case byteByByte = "byte-by-byte"
    /// Connects, and leaves at once.
    case reconnect
    /// Has the daemon keep all the waits that it may have.
    case holdWaits = "hold-waits"
    /// Waits, at full speed, for what has signalled and for what never will.
    case spamWaits = "spam-waits"
    /// Has the engine fault, again and again.
    case fault
    /// Submits jobs that do not end.
    case endlessJobs = "endless-jobs"

    /// Misbehaves; comes back with an error only if the daemon is not there any more.
    func run(socket: String, seed: UInt64) throws -> Never {
        var random = SplitMix64(seed: seed)
        var failures = 0
        while true {
            do {
                switch self {
                case .halfOpen: try halfOpen(socket)
                case .deaf: try deaf(socket)
                case .garbage: try garbage(socket, &random)
                case .hugeArrays: try hugeArrays(socket)
                case .byteByByte: try byteByByte(socket)
                case .reconnect: try reconnect(socket, &random)
                case .holdWaits: try holdWaits(socket)
                case .spamWaits: try spamWaits(socket)
                case .fault: try fault(socket)
                case .endlessJobs: try endlessJobs(socket)
                }
                failures = 0
            } catch let error as WireError where error.code == .connectionRefused {
                throw error
            } catch let error as WireError where error.code == .noSuchFileOrDirectory {
                throw error
            } catch {
                // Cut off, refused or banned: a bad client comes again. One that is refused at once
                // is slower than one that gets somewhere, or it would measure connect(2).
                failures += 1
                if failures > 100 { usleep(10_000) }
            }
        }
    }

    // MARK: messages

    private func halfOpen(_ path: String) throws {
        let raw = try RawConnection(path)
        // Until the daemon closes it.
        _ = try raw.receive()
    }

    private func deaf(_ path: String) throws {
        let raw = try RawConnection(path, hello: rawValue)
        while true {
            try raw.send(raw.message(.clientList, gpuvm_page(), [UInt8]()))
        }
    }

    private func garbage(_ path: String, _ random: inout SplitMix64) throws {
        let raw =
            random.next() & 1 == 0
            ? try RawConnection(path) : try RawConnection(path, hello: rawValue)
        for _ in 0..<100_000 {
            var bytes = (0..<Int(random.next() % 64)).flatMap { _ in
                withUnsafeBytes(of: random.next()) { Array($0) }
            }
            if bytes.count >= 16, random.next() & 1 == 0 {
                // A header that is believed further.
                let header = gpuvm_header(
                    length: UInt32(bytes.count), opcode: UInt16(random.next() % 130), flags: 0,
                    serial: 1, status: 0)
                withUnsafeBytes(of: header) { bytes.replaceSubrange(0..<16, with: $0) }
            }
            try raw.send(bytes)
            try raw.discardReplies()
        }
    }

    private func hugeArrays(_ path: String) throws {
        let raw = try RawConnection(path, hello: rawValue)
        let vm = try makeVM(raw)
        let object = try makeSyncobj(raw, signalled: true)
        var operations: [gpuvm_bind_op] = []
        for index in 0..<262_144 {
            var operation = gpuvm_bind_op()
            operation.kind = GPUVM_BIND_MAP_NULL.rawValue
            operation.address = UInt64(index) << 14
            operation.range = 4096
            operations.append(operation)
        }
        let sync = gpuvm_sync(handle: object, flags: 0, point: 0)
        while true {
            var bind = gpuvm_vm_bind()
            bind.vm = vm
            bind.op_count = UInt32(operations.count)
            try sendExternal(raw, .vmBind, bind, operations)
            _ = try raw.receive()
            var unmap = gpuvm_bind_op()
            unmap.kind = GPUVM_BIND_UNMAP.rawValue
            unmap.range = 1 << 33
            bind.op_count = 1
            _ = try raw.call(.vmBind, bind, [unmap])
            var wait = gpuvm_syncobj_wait()
            wait.count = 16_384
            wait.flags = GPUVM_WAIT_ALL
            try sendExternal(
                raw, .syncobjWait, wait, [gpuvm_sync](repeating: sync, count: 16_384))
            _ = try raw.receive()
        }
    }

    /// A request in a sealed memfd.
    private func sendExternal<T: BitwiseCopyable, Element: BitwiseCopyable>(
        _ raw: RawConnection, _ opcode: Opcode, _ contents: T, _ array: [Element]
    ) throws {
        let bytes = raw.message(
            opcode, contents, array, flags: UInt16(GPUVM_HEADER_EXTERNAL))
        let memory = try SealedMemory(Array(bytes[16...]))
        try raw.send(Array(bytes[..<16]), fds: [memory.fd])
    }

    private func byteByByte(_ path: String) throws {
        let raw = try RawConnection(path)
        var hello = gpuvm_hello()
        hello.magic = GPUVM_PROTOCOL_MAGIC
        hello.major = UInt16(GPUVM_PROTOCOL_MAJOR)
        while true {
            for byte in raw.message(.hello, hello, [UInt8]()) {
                try raw.send([byte])
                usleep(1000)
                try raw.discardReplies()
            }
        }
    }

    private func reconnect(_ path: String, _ random: inout SplitMix64) throws {
        switch random.next() % 3 {
        case 0: _ = try RawConnection(path)
        case 1: _ = try RawConnection(path, hello: rawValue)
        default:
            let raw = try RawConnection(path)
            try raw.send([1, 2, 3])
        }
    }

    // MARK: waits

    private func holdWaits(_ path: String) throws {
        let raw = try RawConnection(path, hello: rawValue)
        let object = try makeSyncobj(raw, signalled: false)
        let wait = gpuvm_syncobj_wait(
            count: 64, flags: GPUVM_WAIT_FOR_SUBMIT | GPUVM_WAIT_ALL, deadline: .max)
        let targets = [gpuvm_sync](
            repeating: gpuvm_sync(handle: object, flags: 0, point: 0), count: 64)
        for _ in 0..<4096 { try raw.send(raw.message(.syncobjWait, wait, targets)) }
        // One too many is answered; then there is nothing to hear.
        try raw.send(raw.message(.syncobjWait, wait, targets))
        while true { _ = try raw.receive() }
    }

    private func spamWaits(_ path: String) throws {
        let raw = try RawConnection(path, hello: rawValue)
        let never = try makeSyncobj(raw, signalled: false)
        let now = try makeSyncobj(raw, signalled: true)
        while true {
            for handle in [never, now] {
                let wait = gpuvm_syncobj_wait(
                    count: 1, flags: GPUVM_WAIT_FOR_SUBMIT, deadline: 1)
                let target = gpuvm_sync(handle: handle, flags: 0, point: 0)
                _ = try raw.call(.syncobjWait, wait, [target])
            }
        }
    }

    func makeVM(_ raw: RawConnection) throws -> UInt32 {
        var create = gpuvm_vm_create()
        create.range = 1 << 40
        return try succeed(raw.call(.vmCreate, create))
    }

    func makeSyncobj(_ raw: RawConnection, signalled: Bool) throws -> UInt32 {
        try succeed(
            raw.call(
                .syncobjCreate,
                gpuvm_syncobj_create(
                    flags: signalled ? GPUVM_SYNCOBJ_SIGNALED : 0, reserved: 0)))
    }

    private func succeed(_ reply: (status: Int32, handle: UInt32)) throws -> UInt32 {
        guard reply.status == 0 else { throw RawConnection.Ended() }
        return reply.handle
    }
}
