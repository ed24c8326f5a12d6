import CPlatform
import CWireProtocol
import Glibc
import Testing
import WireProtocol

/// A session that leaves everything under way: pending binds behind a fence that never signals, a
/// job that waits in memory, exported descriptors, outstanding waits. It may end after any message.
///
/// Handles count up from 1 for each kind, so no message needs a reply.
final class ScriptedSession {
    private(set) var messages: [(name: String, bytes: [UInt8], fds: [Int32])] = []
    private let memory: OwnedFD
    private let events: OwnedFD
    private let strangersEvents: OwnedFD

    private static let batchAddress: UInt64 = 0x70_0000
    private static let semaphoreAddress: UInt64 = 0x10_0000

    /// - Parameter gate: A syncobj fd of another client whose fence stays pending.
    init(gate: borrowing OwnedFD) throws {
        // The client's own memory holds the stream, so that nobody has to write it later.
        memory = try OwnedFD.memfd(name: "script", bytes: 1 << 16)
        var stream = CommandWriter()
        stream.waitSemaphore(at: Self.semaphoreAddress, .equal, value: 1)
        stream.end()
        events = OwnedFD(gpuvm_eventfd_create(0))
        strangersEvents = OwnedFD(gpuvm_eventfd_create(0))
        let number = memory.rawValue
        let written = stream.dwords.withUnsafeBytes {
            pwrite(number, $0.baseAddress, $0.count, 0)
        }
        guard written == Int(stream.byteCount) else {
            throw WireError.invalid("no room for the stream")
        }
        addObjects(gate.rawValue)
        addJobs()
        addDescriptors()
        addEnds()
    }

    private func add<T: BitwiseCopyable>(
        _ opcode: Opcode, _ contents: T, tail: [[UInt8]] = [], fds: [Int32] = []
    ) {
        let body = RawClient.body(contents) + tail.flatMap { $0 }
        messages.append(
            (
                "\(opcode)",
                RawClient.message(opcode.rawValue, body, serial: UInt32(messages.count)), fds
            ))
    }

    private func addObjects(_ gate: Int32) {
        var hello = gpuvm_hello()
        hello.magic = GPUVM_PROTOCOL_MAGIC
        hello.major = 1
        hello.name = WireName.encode("victim")
        add(.hello, hello)
        var create = gpuvm_bo_create()
        create.size = 1 << 16
        add(.boCreate, create)  // buffer 1
        create.size = 4 << 20
        create.placement = GPUVM_PLACE_VRAM
        add(.boCreate, create)  // buffer 2
        var imported = gpuvm_bo_import()
        imported.size = 1 << 16
        add(.boImport, imported, fds: [memory.rawValue])  // buffer 3
        var vm = gpuvm_vm_create()
        vm.range = 1 << 40
        add(.vmCreate, vm)  // VM 1
        add(.vmCreate, vm)  // VM 2
        bind(
            vm: 1,
            [
                map(1, Self.semaphoreAddress, 1 << 16), map(2, 0x40_0000, 2 << 20),
                map(3, Self.batchAddress, 1 << 16), null(1 << 39, 1 << 21),
            ])
        var queue = gpuvm_queue_create()
        queue.vm = 1
        add(.queueCreate, queue)  // queue 1
        queue.engine_instance = 1
        add(.queueCreate, queue)  // queue 2
        queue.engine_instance = 0
        queue.engine_class = 1
        add(.queueCreate, queue)  // queue 3
        add(.syncobjCreate, gpuvm_syncobj_create(flags: 0, reserved: 0))  // syncobj 1
        add(.syncobjCreate, gpuvm_syncobj_create(flags: 1, reserved: 0))  // syncobj 2
        add(.syncobjImport, gpuvm_syncobj_import(), fds: [gate])  // syncobj 3
    }

    private func addJobs() {
        exec(queue: 1, batches: [Self.batchAddress], signals: [line(1)])
        exec(queue: 2, waits: [line(1)], signals: [line(2)])
        exec(queue: 2, batches: [0xdead_0000], signals: [])
        bind(vm: 2, [map(1, 0, 1 << 16)], waits: [gate], signals: [line(3)])
        bind(vm: 1, queue: 3, [unmap(0x40_0000, 1 << 20)], waits: [line(1)])
        bind(vm: 1, [map(2, 0x48_0000, 1 << 20)], waits: [gate], signals: [line(4)])
        // Synchronous, and behind the one before in the VM's own queue: never answered.
        bind(vm: 1, [unmap(0x50_0000, 1 << 20), null(0x50_0000, 1 << 16)])
        bind(vm: 1, [unmap(1 << 39, 4096)], waits: [line(4)], signals: [line(5)])
    }

    private func addDescriptors() {
        add(.syncobjExport, gpuvm_syncobj_export(handle: 1, flags: 0, point: 0))
        add(.syncobjExport, gpuvm_syncobj_export(handle: 1, flags: 1, point: 2))
        add(.syncobjExport, gpuvm_syncobj_export(handle: 3, flags: 1, point: 0))
        add(.boExport, gpuvm_handle(handle: 1, reserved: 0))
        add(
            .syncobjWait, gpuvm_syncobj_wait(count: 1, flags: 0, deadline: .max),
            tail: [RawClient.body(line(2))])
        add(
            .syncobjWait, gpuvm_syncobj_wait(count: 2, flags: 3, deadline: .max),
            tail: [RawClient.body(gate), RawClient.body(line(90))])
        var transfer = gpuvm_syncobj_transfer()
        transfer.source = line(91)
        transfer.destination = gpuvm_sync(handle: 2, flags: 0, point: 0)
        transfer.flags = GPUVM_WAIT_FOR_SUBMIT
        add(.syncobjTransfer, transfer)
        add(
            .syncobjEventfd, gpuvm_syncobj_eventfd(handle: 1, flags: 0, point: 2),
            fds: [events.rawValue])
        add(
            .syncobjEventfd, gpuvm_syncobj_eventfd(handle: 3, flags: 0, point: 0),
            fds: [strangersEvents.rawValue])
    }

    private func addEnds() {
        add(.boClose, gpuvm_handle(handle: 2, reserved: 0))
        add(.queueClose, gpuvm_handle(handle: 3, reserved: 0))
        add(.queueClose, gpuvm_handle(handle: 1, reserved: 0))
        add(.syncobjDestroy, gpuvm_handle(handle: 1, reserved: 0))
        add(.vmClose, gpuvm_handle(handle: 2, reserved: 0))
    }

    // MARK: parts

    private var gate: gpuvm_sync { gpuvm_sync(handle: 3, flags: 0, point: 0) }

    private func line(_ point: UInt64) -> gpuvm_sync {
        gpuvm_sync(handle: 1, flags: GPUVM_SYNC_TIMELINE, point: point)
    }

    private func operation(
        _ kind: gpuvm_bind_op_kind, _ bo: UInt32, _ address: UInt64, _ range: UInt64
    ) -> gpuvm_bind_op {
        gpuvm_bind_op(
            kind: kind.rawValue, flags: 0, bo: bo, reserved: 0, address: address, range: range,
            offset: 0)
    }

    private func map(_ bo: UInt32, _ address: UInt64, _ range: UInt64) -> gpuvm_bind_op {
        operation(GPUVM_BIND_MAP, bo, address, range)
    }

    private func null(_ address: UInt64, _ range: UInt64) -> gpuvm_bind_op {
        operation(GPUVM_BIND_MAP_NULL, 0, address, range)
    }

    private func unmap(_ address: UInt64, _ range: UInt64) -> gpuvm_bind_op {
        operation(GPUVM_BIND_UNMAP, 0, address, range)
    }

    private func bind(
        vm: UInt32, queue: UInt32 = 0, _ operations: [gpuvm_bind_op], waits: [gpuvm_sync] = [],
        signals: [gpuvm_sync] = []
    ) {
        let isAsynchronous = !waits.isEmpty || !signals.isEmpty
        add(
            .vmBind,
            gpuvm_vm_bind(
                vm: vm, queue: queue, flags: isAsynchronous ? GPUVM_VM_BIND_ASYNC : 0,
                op_count: UInt32(operations.count), wait_count: UInt32(waits.count),
                signal_count: UInt32(signals.count)),
            tail: operations.map { RawClient.body($0) }
                + (waits + signals).map { RawClient.body($0) })
    }

    private func exec(
        queue: UInt32, batches: [UInt64] = [], waits: [gpuvm_sync] = [], signals: [gpuvm_sync]
    ) {
        add(
            .exec,
            gpuvm_exec(
                queue: queue, flags: 0, batch_count: UInt32(batches.count),
                wait_count: UInt32(waits.count), signal_count: UInt32(signals.count), reserved: 0),
            tail: batches.map { RawClient.body(gpuvm_batch(address: $0, bytes: 0)) }
                + (waits + signals).map { RawClient.body($0) })
    }
}
