import CWireProtocol
import Device
import Fencing
import GPUVMCore
import Memory
import SystemPackage
import WireProtocol

extension Session {
    func createVM(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        var reader = message.reader
        let request: gpuvm_vm_create = try reader.read()
        try requireFlags(
            request.flags, known: GPUVM_VM_IMMEDIATE | GPUVM_VM_WEAK_REFERENCES, "flags")
        try requireZero(request.reserved, "reserved")
        let name = try WireName.decode(request.name)
        var flags: DeviceVM.Flags = []
        if request.flags & GPUVM_VM_IMMEDIATE != 0 { flags.insert(.immediateMode) }
        if request.flags & GPUVM_VM_WEAK_REFERENCES != 0 { flags.insert(.weakReferences) }
        let made = try onDevice { () throws(DeviceError) in
            try client.createVM(
                name: name, start: request.start, range: request.range,
                reservedStart: request.reserved_start, reservedRange: request.reserved_range,
                flags: flags)
        }
        var builder = ReplyBuilder(to: .vmCreate, serial: message.serial)
        builder.append(gpuvm_handle_reply(handle: made.handle, reserved: 0))
        return builder.finishInline()
    }

    /// VM_BIND: asynchronous ones are answered at once, synchronous ones when they have executed.
    func bind(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage? {
        var reader = message.reader
        let request: gpuvm_vm_bind = try reader.read()
        try requireFlags(
            request.flags, known: GPUVM_VM_BIND_ASYNC | GPUVM_VM_BIND_RETURN_OPS, "flags")
        let wireOperations: WireArray<gpuvm_bind_op> = try reader.readArray(
            count: request.op_count, limit: Self.maxBindOps, "operations")
        let waits: WireArray<gpuvm_sync> = try reader.readArray(
            count: request.wait_count, limit: Self.maxSyncs, "waits")
        let signals: WireArray<gpuvm_sync> = try reader.readArray(
            count: request.signal_count, limit: Self.maxSyncs, "signals")
        try reader.expectEnd()
        let isAsynchronous = request.flags & GPUVM_VM_BIND_ASYNC != 0
        guard isAsynchronous || (waits.isEmpty && signals.isEmpty) else {
            throw .invalid(
                "a synchronous VM_BIND takes no waits and no signals: set GPUVM_VM_BIND_ASYNC")
        }
        let operations = try decode(wireOperations, for: client)
        let returnsOperations = request.flags & GPUVM_VM_BIND_RETURN_OPS != 0
        if returnsOperations { try requireOperationsAtSubmission(client, request.vm) }
        let waitPoints = try decode(waits)
        let signalPoints = try decode(signals)
        let result = try onDevice { () throws(DeviceError) in
            try client.bind(
                vm: request.vm, queue: request.queue, operations: operations,
                waits: waitPoints, signals: signalPoints, recordsOperations: returnsOperations)
        }
        let reply = bindReply(result.fence, result.operations, client, serial: message.serial)
        if isAsynchronous { return reply }
        let deferred = DeferredBindReply(reply, session: self, serial: message.serial)
        if !result.fence.addCallback(deferred) { deferred.fenceSignalled(result.fence) }
        return nil
    }

    /// What a bind of an immediate VM becomes is known when it executes.
    private func requireOperationsAtSubmission(
        _ client: Client, _ handle: UInt32
    ) throws(WireError) {
        let vm = try onDevice { () throws(DeviceError) in try client.vm(handle) }
        guard !vm.flags.contains(.immediateMode) else {
            throw .invalid(
                """
                VM \(handle) is in immediate mode, where a bind is planned when it executes: it \
                cannot return its operations, so leave GPUVM_VM_BIND_RETURN_OPS out
                """)
        }
    }

    private func decode(
        _ array: WireArray<gpuvm_bind_op>, for client: Client
    ) throws(WireError) -> [BindOperation] {
        var operations: [BindOperation] = []
        operations.reserveCapacity(array.count)
        for (index, operation) in array.enumerated() {
            guard let kind = BindOperation.Kind(rawValue: operation.kind), kind.isNative else {
                throw .invalid("operation \(index): unknown kind \(operation.kind)")
            }
            let isMap = kind == .map || kind == .mapNull
            try requireFlags(
                operation.flags, known: isMap ? GPUVM_BIND_READ_ONLY : 0, "an operation's flags")
            try requireZero(operation.reserved, "an operation's reserved")
            var buffer: BufferObject?
            if kind == .map || kind == .unmapAll {
                buffer = try onDevice { () throws(DeviceError) in
                    try client.buffer(operation.bo)
                }
            } else {
                try requireZero(operation.bo, "bo (of an operation that takes no buffer)")
            }
            if kind != .map {
                try requireZero(operation.offset, "offset (of an operation that takes no buffer)")
            }
            operations.append(
                BindOperation(
                    kind, address: operation.address, range: operation.range, buffer: buffer,
                    offset: operation.offset,
                    readOnly: operation.flags & GPUVM_BIND_READ_ONLY != 0))
        }
        return operations
    }

    func decode(_ array: WireArray<gpuvm_sync>) throws(WireError) -> [SyncPoint] {
        var points: [SyncPoint] = []
        points.reserveCapacity(array.count)
        for sync in array { points.append(try decode(sync)) }
        return points
    }

    func decode(_ sync: gpuvm_sync) throws(WireError) -> SyncPoint {
        try requireFlags(sync.flags, known: GPUVM_SYNC_TIMELINE, "a sync's flags")
        let isTimeline = sync.flags & GPUVM_SYNC_TIMELINE != 0
        if !isTimeline { try requireZero(sync.point, "point (of a binary sync)") }
        return SyncPoint(handle: sync.handle, point: sync.point, isTimeline: isTimeline)
    }

    // MARK: encoding

    /// The reply to a bind that has been submitted: with fewer records, or none, rather than an error.
    private func bindReply(
        _ fence: Fence, _ operations: [ExecutedOperation], _ client: Client, serial: UInt32
    ) -> OutgoingMessage {
        let carried = operations.prefix(Self.maxOperationRecords)
        let head = { (records: Int) in
            gpuvm_vm_bind_reply(
                fence_context: fence.context, fence_sequence: fence.sequenceNumber,
                op_count: UInt32(records), ops_omitted: UInt32(operations.count - records))
        }
        do throws(WireError) {
            var builder = ReplyBuilder(to: .vmBind, serial: serial)
            builder.append(head(carried.count))
            builder.append(contentsOf: carried.map { wire($0, for: client) })
            return try builder.finish()
        } catch {
            logger.warning(
                "a bind is answered without its operations", metadata: ["why": "\(error)"])
            var builder = ReplyBuilder(to: .vmBind, serial: serial)
            builder.append(head(0))
            return builder.finishInline()
        }
    }

    /// What an external message has room for.
    static var maxOperationRecords: Int {
        (Int(GPUVM_MAX_EXTERNAL) - MemoryLayout<gpuvm_vm_bind_reply>.size)
            / MemoryLayout<gpuvm_op_record>.stride
    }

    private func wire(_ record: ExecutedOperation, for client: Client) -> gpuvm_op_record {
        var wire = gpuvm_op_record()
        wire.request = UInt32(record.request)
        wire.case_number = UInt32(record.overlapCase?.number ?? 0)
        wire.mapping = self.wire(record.mapping, for: client)
        switch record.kind {
        case .map: wire.kind = GPUVM_OP_MAP.rawValue
        case .remap: wire.kind = GPUVM_OP_REMAP.rawValue
        case .unmap: wire.kind = GPUVM_OP_UNMAP.rawValue
        case .prefetch: wire.kind = GPUVM_OP_PREFETCH.rawValue
        }
        if record.keep { wire.flags |= GPUVM_OP_KEEP }
        if let previous = record.previous {
            wire.flags |= GPUVM_OP_HAS_PREV
            wire.prev = self.wire(previous, for: client)
        }
        if let next = record.next {
            wire.flags |= GPUVM_OP_HAS_NEXT
            wire.next = self.wire(next, for: client)
        }
        return wire
    }

    func wire(_ mapping: MappingInfo, for client: Client) -> gpuvm_mapping {
        gpuvm_mapping(
            address: mapping.address, range: mapping.range, offset: mapping.offset,
            bo: mapping.buffer == 0
                ? 0 : client.handle(ofBufferWithID: mapping.buffer) ?? GPUVM_FOREIGN_BO,
            flags: mapping.flags.rawValue)
    }
}

// @unchecked: the reply is sent once, by whoever takes it.
/// The reply to a synchronous VM_BIND, sent when the bind has executed.
///
/// It is built at submission: on the signalling path only the send remains, which never blocks.
private final class DeferredBindReply: FenceCallback, @unchecked Sendable {
    private let reply: OutgoingMessage
    private let session: Session
    private let serial: UInt32

    init(_ reply: consuming OutgoingMessage, session: Session, serial: UInt32) {
        self.reply = reply
        self.session = session
        self.serial = serial
    }

    override func fenceSignalled(_ fence: Fence) {
        guard fence.error != 0 else {
            session.send(reply)
            return
        }
        let failure = WireError(
            Errno(rawValue: fence.error),
            "the bind was accepted and failed when it was executed: its VM was closed or is banned")
        session.send(
            ReplyBuilder.failure(opcode: Opcode.vmBind.rawValue, serial: serial, failure))
    }
}
