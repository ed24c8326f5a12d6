import CWireProtocol
import GPUVMClient
import Glibc
import Testing
import WireProtocol

/// A raw client with one object of each kind, a closed one of each kind, and handles that only
/// another client has.
final class Attacker: Sendable {
    let raw: RawClient
    let bo, vm, otherVM, queue, bindQueue, syncobj, timeline, local: UInt32
    /// A buffer without CPU access, and a VM in immediate mode.
    let hidden, immediateVM: UInt32
    let closed: UInt32
    /// Of no object of this client; the other client has objects of all kinds under it.
    let foreign: UInt32 = 12

    init(_ daemon: TestDaemon, name: String = "attacker") throws {
        raw = try RawClient(daemon.path)
        try raw.hello(name)
        bo = try Self.makeBuffer(raw)
        vm = try Self.makeVM(raw)
        otherVM = try Self.makeVM(raw)
        queue = try Self.makeQueue(raw, vm, GPUVM_ENGINE_COPY)
        bindQueue = try Self.makeQueue(raw, otherVM, GPUVM_ENGINE_BIND)
        syncobj = try Self.makeSyncobj(raw, signalled: true)
        timeline = try Self.makeSyncobj(raw, signalled: false)
        var local = gpuvm_bo_create()
        local.size = 4096
        local.flags = GPUVM_BO_LOCAL
        local.vm = otherVM
        self.local = try raw.call(.boCreate, local).contents(gpuvm_bo_reply.self).handle
        var hidden = gpuvm_bo_create()
        hidden.size = 4096
        hidden.flags = GPUVM_BO_NO_CPU_ACCESS
        self.hidden = try raw.call(.boCreate, hidden).contents(gpuvm_bo_reply.self).handle
        immediateVM = try Self.makeVM(raw, flags: GPUVM_VM_IMMEDIATE)
        try Self.succeed(
            raw.call(
                .syncobjSignal, gpuvm_syncobj_array(count: 1, flags: 0),
                array: [gpuvm_sync(handle: timeline, flags: GPUVM_SYNC_TIMELINE, point: 5)]))
        // One handle number that has been every kind of object, and is none any more.
        var last: UInt32 = 0
        while last < 8 { last = try Self.makeBuffer(raw) }
        closed = 8
        for kind in [Opcode.boClose, .vmClose, .queueClose, .syncobjDestroy] {
            while true {
                let handle: UInt32 =
                    switch kind {
                    case .boClose: last
                    case .vmClose: try Self.makeVM(raw)
                    case .queueClose: try Self.makeQueue(raw, vm, GPUVM_ENGINE_COPY)
                    default: try Self.makeSyncobj(raw, signalled: false)
                    }
                guard handle == 8 else { continue }
                try Self.succeed(raw.call(kind, gpuvm_handle(handle: 8, reserved: 0)))
                break
            }
        }
        var mapping = gpuvm_bind_op()
        mapping.bo = bo
        mapping.address = 0x10_0000
        mapping.range = 0x1_0000
        try Self.succeed(raw.call(.vmBind, bind([mapping]), array: [mapping]))
    }

    /// The struct of a synchronous VM_BIND.
    func bind(_ operations: [gpuvm_bind_op]) -> gpuvm_vm_bind {
        var bind = gpuvm_vm_bind()
        bind.vm = vm
        bind.op_count = UInt32(operations.count)
        return bind
    }

    static func succeed(_ reply: RawClient.Reply) throws {
        try #require(reply.status == 0, "\(reply.text)")
    }

    static func makeBuffer(_ raw: RawClient) throws -> UInt32 {
        var create = gpuvm_bo_create()
        create.size = 1 << 16
        return try raw.call(.boCreate, create).contents(gpuvm_bo_reply.self).handle
    }

    static func makeVM(_ raw: RawClient, flags: UInt32 = 0) throws -> UInt32 {
        var create = gpuvm_vm_create()
        create.flags = flags
        create.range = 1 << 30
        create.reserved_start = 0x2000_0000
        create.reserved_range = 0x1000
        return try raw.call(.vmCreate, create).contents(gpuvm_handle_reply.self).handle
    }

    static func makeQueue(
        _ raw: RawClient, _ vm: UInt32, _ engine: gpuvm_engine_class
    ) throws -> UInt32 {
        var create = gpuvm_queue_create()
        create.vm = vm
        create.engine_class = UInt16(engine.rawValue)
        create.priority = 1
        return try raw.call(.queueCreate, create).contents(gpuvm_handle_reply.self).handle
    }

    static func makeSyncobj(_ raw: RawClient, signalled: Bool) throws -> UInt32 {
        try raw.call(
            .syncobjCreate,
            gpuvm_syncobj_create(
                flags: signalled ? GPUVM_SYNCOBJ_SIGNALED : 0, reserved: 0)
        ).contents(gpuvm_syncobj_reply.self).handle
    }
}
