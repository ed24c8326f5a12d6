import CWireProtocol
import GPUVMClient
import Glibc
import Testing
import WireProtocol

/// VMs in immediate mode and with weak references, over the socket.
@Suite struct VMModeTests {
    private struct Bench {
        let connection: Connection
        let vm: VM
        let queue: Queue
        let commands: BufferObject
        let done: GPUVMClient.Syncobj

        static let commandAddress: UInt64 = 0x7000_0000

        init(_ daemon: TestDaemon, _ flags: VMFlags, name: String) throws {
            connection = try daemon.connect(name)
            vm = try connection.makeVM(range: 1 << 40, flags: flags, name: name)
            commands = try connection.makeBuffer(size: 1 << 16, name: "commands")
            try vm.bind([.map(commands, at: Self.commandAddress, range: 1 << 16)])
            queue = try vm.makeQueue(.copy)
            done = try connection.makeSyncobj()
        }

        var record: gpuvm_vm_record {
            get throws {
                try #require(
                    try connection.vms().first {
                        $0.client_id == connection.server.clientID && $0.handle == vm.handle
                    })
            }
        }

        func addresses() throws -> [UInt64] {
            try connection.mappings(ofVM: record.id).map(\.address)
        }

        func place(
            _ offset: Int, _ write: (inout CommandWriter) -> Void
        ) throws -> Queue.Batch {
            var writer = CommandWriter()
            write(&writer)
            writer.end()
            let memory = UnsafeMutableRawBufferPointer(rebasing: try commands.map()[offset...])
            writer.dwords.withUnsafeBytes { memory.copyMemory(from: $0) }
            return Queue.Batch(
                address: Self.commandAddress + UInt64(offset), bytes: writer.byteCount)
        }

        func run(
            on queue: Queue? = nil, _ write: (inout CommandWriter) -> Void
        ) throws -> Int32 {
            let point = try done.query(lastSubmitted: true) + 1
            let fence = try (queue ?? self.queue).exec(
                [try place(0, write)], signals: [done.point(point)])
            try connection.wait(for: [done.point(point)], flags: .all, deadline: soon())
            return try connection.fenceInfo(fence).error
        }
    }

    private func daemon() throws -> TestDaemon {
        try TestDaemon {
            $0.device.vram = 16 << 20
            $0.device.systemMemory = 64 << 20
        }
    }

    private static let modes: [VMFlags] = [
        [], .immediateMode, .weakReferences, [.immediateMode, .weakReferences],
    ]

    /// The same requests have the same result in every mode.
    @Test(arguments: modes.indices) func bindExecUnmap(_ mode: Int) throws {
        let daemon = try daemon()
        let flags = Self.modes[mode]
        let bench = try Bench(daemon, flags, name: "mode \(mode)")
        let expected =
            (flags.contains(.immediateMode) ? GPUVM_VM_IS_IMMEDIATE : 0)
            | (flags.contains(.weakReferences) ? GPUVM_VM_IS_WEAK : 0)
        #expect(try bench.record.flags == expected)
        let buffer = try bench.connection.makeBuffer(
            size: 4 << 20, placement: .vram, name: "buffer")
        fill(try buffer.map(), seed: 8)
        try bench.vm.bind([.map(buffer, at: 0x1000_0000, range: 4 << 20)])
        // A hole in the middle: map, remap and unmap in one request.
        try bench.vm.bind([
            .mapNull(at: 0x1010_0000, range: 0x1000),
            .unmap(at: 0x1020_0000, range: 0x10_0000),
            .map(buffer, at: 0x1050_0000, range: 0x1000, offset: 0x1000, readOnly: true),
        ])
        #expect(
            try bench.addresses() == [
                0x1000_0000, 0x1010_0000, 0x1010_1000, 0x1030_0000, 0x1050_0000, 0x7000_0000,
            ])
        #expect(
            try bench.run {
                $0.copy(from: 0x1000_0000, to: 0x1030_0000, bytes: 0x10_0000)
                $0.store(0x1010_0000, dword: 7)
                $0.store(0x1000_0010, dword: 9)
            } == 0)
        let memory = try buffer.map()
        #expect(memory.load(fromByteOffset: 0x10, as: UInt32.self) == 9)
        #expect(
            memory.load(fromByteOffset: 0x30_0008, as: UInt64.self)
                == memory.load(fromByteOffset: 8, as: UInt64.self))
        // A write to what is read-only and a read of the hole fault; other queues go on.
        let victim = try bench.vm.makeQueue(.copy)
        #expect(try bench.run(on: victim) { $0.store(0x1050_0000, dword: 1) } == EIO)
        let second = try bench.vm.makeQueue(.copy)
        #expect(try bench.run(on: second) { $0.store(0x1020_0000, dword: 1) } == EIO)
        try bench.vm.bind([.unmapAll(buffer)])
        #expect(try bench.addresses() == [0x1010_0000, 0x7000_0000])
        let third = try bench.vm.makeQueue(.copy)
        #expect(try bench.run(on: third) { $0.store(0x1000_0000, dword: 1) } == EIO)
        #expect(try bench.run { $0.nop() } == 0)
        #expect(try bench.connection.status().faults == 3)
        try bench.vm.close()
        #expect(errno { try bench.vm.bind([]) } == ENOENT)
    }

    /// Wrong operations are refused at submission in every mode, and change nothing.
    @Test(arguments: modes.indices) func wrongBindsChangeNothing(_ mode: Int) throws {
        let daemon = try daemon()
        let bench = try Bench(daemon, Self.modes[mode], name: "mode \(mode)")
        let buffer = try bench.connection.makeBuffer(size: 1 << 16)
        let before = try bench.addresses()
        #expect(
            errno {
                try bench.vm.bind([
                    .map(buffer, at: 0x1000_0000, range: 1 << 16),
                    .map(buffer, at: 1 << 40, range: 1 << 16),
                ])
            } == EINVAL)
        #expect(
            errno {
                try bench.vm.bind([.map(buffer, at: 0x1000_0000, range: 1 << 17)])
            } == EINVAL)
        #expect(try bench.addresses() == before)
        #expect(try bench.run { $0.nop() } == 0)
    }

    /// Asynchronous binds take effect in their order, and the tree of an immediate VM with them.
    @Test(arguments: [false, true]) func asynchronousBindsInOrder(isImmediate: Bool) throws {
        let daemon = try daemon()
        let bench = try Bench(daemon, isImmediate ? .immediateMode : [], name: "async")
        let first = try bench.connection.makeBuffer(size: 4096)
        let second = try bench.connection.makeBuffer(size: 4096)
        let timeline = try bench.connection.makeSyncobj()
        // The gate is a job that waits for a qword of the command buffer.
        let gateQueue = try bench.vm.makeQueue(.copy, instance: 1)
        let gate = try bench.place(0x8000) {
            $0.waitSemaphore(at: Bench.commandAddress + 0xf000, .equal, value: 1)
        }
        _ = try gateQueue.exec([gate], signals: [timeline.point(1)])
        try bench.vm.bindAsync(
            [.map(first, at: 0x1000_0000, range: 4096)], waits: [timeline.point(1)],
            signals: [timeline.point(2)])
        try bench.vm.bindAsync(
            [.map(second, at: 0x1000_0000, range: 4096)], signals: [timeline.point(3)])
        let shown = try bench.addresses()
        #expect(shown == (isImmediate ? [0x7000_0000] : [0x1000_0000, 0x7000_0000]))
        try bench.commands.map().storeBytes(of: 1, toByteOffset: 0xf000, as: UInt64.self)
        try bench.connection.wait(for: [timeline.point(3)], deadline: soon())
        #expect(try bench.addresses() == [0x1000_0000, 0x7000_0000])
        #expect(try bench.run { $0.store(0x1000_0000, dword: 5) } == 0)
        #expect(try first.map().load(as: UInt32.self) == 0)
        #expect(try second.map().load(as: UInt32.self) == 5)
    }

    @Test func anImmediateVMReturnsNoOperations() throws {
        let daemon = try daemon()
        let bench = try Bench(daemon, .immediateMode, name: "immediate")
        #expect(
            errno {
                try bench.vm.bind([.mapNull(at: 0, range: 4096)], returningOperations: true)
            } == EINVAL)
        #expect(try bench.addresses() == [0x7000_0000])
        try bench.vm.bind([.mapNull(at: 0, range: 4096)])
        #expect(try bench.addresses() == [0, 0x7000_0000])
    }

    // MARK: weak references

    @Test(arguments: modes.indices) func theLastHandleAndTheMappings(_ mode: Int) throws {
        let daemon = try daemon()
        let bench = try Bench(daemon, Self.modes[mode], name: "mode \(mode)")
        let isWeak = Self.modes[mode].contains(.weakReferences)
        let buffer = try bench.connection.makeBuffer(
            size: 2 << 20, placement: .vram, name: "buffer")
        try bench.vm.bind([
            .map(buffer, at: 0x1000_0000, range: 1 << 20),
            .map(buffer, at: 0x2000_0000, range: 1 << 20, offset: 1 << 20),
        ])
        #expect(try bench.run { $0.store(0x1000_0000, dword: 5) } == 0)
        let used = try bench.connection.memoryInfo().vram.used
        #expect(used == 2 << 20)
        try buffer.close()
        guard isWeak else {
            #expect(try bench.addresses() == [0x1000_0000, 0x2000_0000, 0x7000_0000])
            #expect(try bench.run { $0.store(0x2000_0000, dword: 5) } == 0)
            #expect(try bench.connection.memoryInfo().vram.used == used)
            return
        }
        #expect(try daemon.eventually { try bench.addresses() == [0x7000_0000] })
        #expect(
            try daemon.eventually { try bench.connection.memoryInfo().vram.used == 0 })
        // The page tables and TLBs forget it as well.
        let id = try bench.record.id
        #expect(
            try daemon.eventually {
                try bench.connection.walk(vm: id, address: 0x1000_0000).result
                    == GPUVM_WALK_FAULT.rawValue
            })
        #expect(try bench.run { $0.store(0x1000_0000, dword: 6) } == EIO)
        let next = try bench.vm.makeQueue(.copy)
        #expect(try bench.run(on: next) { $0.nop() } == 0)
    }

    /// Another client's handle keeps the mappings of a weak VM; the last of all lets them go.
    @Test func anyHandleKeepsTheMappings() throws {
        let daemon = try daemon()
        let bench = try Bench(daemon, .weakReferences, name: "weak")
        let other = try daemon.connect("other")
        let buffer = try bench.connection.makeBuffer(size: 1 << 16, name: "shared")
        try bench.vm.bind([.map(buffer, at: 0x1000_0000, range: 1 << 16)])
        let copy = try other.importBuffer(try buffer.export(), size: 1 << 16)
        try buffer.close()
        #expect(try bench.run { $0.store(0x1000_0000, dword: 77) } == 0)
        #expect(try copy.map().load(as: UInt32.self) == 77)
        #expect(try bench.addresses().count == 2)
        other.close()
        #expect(try daemon.eventually { try bench.addresses() == [0x7000_0000] })
    }

    /// A job that was submitted before finishes on memory that is its own; the next one faults.
    @Test func aSubmittedJobKeepsItsMemory() throws {
        let daemon = try daemon()
        let bench = try Bench(daemon, .weakReferences, name: "weak")
        let buffer = try bench.connection.makeBuffer(size: 1 << 16, name: "buffer")
        let memory = try OwnedFD(duplicating: buffer.fd)
        try bench.vm.bind([.map(buffer, at: 0x1000_0000, range: 1 << 16)])
        let timeline = try bench.connection.makeSyncobj()
        let batch = try bench.place(0x8000) {
            $0.waitSemaphore(at: Bench.commandAddress + 0xf000, .equal, value: 1)
            $0.store(0x1000_0040, dword: 0xabcd)
        }
        let queue = try bench.vm.makeQueue(.copy, instance: 1)
        let fence = try queue.exec([batch], signals: [timeline.point(1)])
        try buffer.close()
        try bench.commands.map().storeBytes(of: 1, toByteOffset: 0xf000, as: UInt64.self)
        try bench.connection.wait(for: [timeline.point(1)], deadline: soon())
        #expect(try bench.connection.fenceInfo(fence).error == 0)
        var value: UInt32 = 0
        #expect(pread(memory.rawValue, &value, 4, 0x40) == 4 && value == 0xabcd)
        #expect(try daemon.eventually { try bench.addresses() == [0x7000_0000] })
        #expect(try bench.run { $0.store(0x1000_0040, dword: 1) } == EIO)
    }

    /// Over-committed, in every mode: what was evicted comes back with its bytes.
    @Test(arguments: modes.indices) func pressureInEveryMode(_ mode: Int) throws {
        let daemon = try daemon()
        let bench = try Bench(daemon, Self.modes[mode], name: "mode \(mode)")
        let buffer = try bench.connection.makeBuffer(
            size: 10 << 20, placement: .vram, name: "buffer")
        fill(try buffer.map(), seed: 31)
        let target = try bench.connection.makeBuffer(size: 10 << 20, name: "target")
        try bench.vm.bind([
            .map(buffer, at: 0x1000_0000, range: 10 << 20),
            .map(target, at: 0x2000_0000, range: 10 << 20),
        ])
        #expect(try bench.run { $0.nop() } == 0)
        let other = try Bench(daemon, Self.modes[mode], name: "other")
        let filler = try other.connection.makeBuffer(size: 10 << 20, placement: .vram)
        try other.vm.bind([.map(filler, at: 0x1000_0000, range: 10 << 20)])
        for round in 1...3 as ClosedRange<UInt32> {
            #expect(try buffer.info().flags & GPUVM_BO_EVICTED != 0)
            #expect(
                try bench.run {
                    $0.copy(from: 0x1000_0000, to: 0x2000_0000, bytes: 10 << 20)
                } == 0)
            #expect(isFilled(try target.map(), seed: 31), "round \(round)")
            #expect(try filler.info().flags & GPUVM_BO_EVICTED != 0)
            #expect(
                try other.run {
                    $0.fill(0x1000_0000, bytes: 10 << 20, pattern: round)
                } == 0)
            #expect(
                try filler.map().load(fromByteOffset: (10 << 20) - 4, as: UInt32.self) == round)
        }
        #expect(try bench.connection.memoryInfo().restores == 6)
        #expect(try bench.connection.status().faults == 0)
    }
}
