import CWireProtocol
import WireProtocol

/// A GPU VM: an address space that buffer objects are bound into.
///
/// The daemon keeps it until ``close()`` or the end of the connection.
///
/// Threading: any thread; binds on one bind queue take effect in the order of their submission.
public final class VM: Sendable {
    /// The connection that the handle belongs to.
    public let connection: Connection
    /// The daemon's name for it among this client's; never 0.
    public let handle: UInt32

    init(_ connection: Connection, handle: UInt32) {
        self.connection = connection
        self.handle = handle
    }

    /// Tears the address space down: mappings go, later use fails with ENOENT.
    ///
    /// When it returns no engine reads or writes through the VM.
    public func close() throws(ClientError) {
        try connection.release(.vmClose, handle)
    }

    /// Carries out `operations`, all or none, and returns when the page tables show it.
    ///
    /// - Parameters:
    ///   - queue: A bind queue of this VM; nil is the VM's own.
    ///   - returningOperations: Has ``BindResult/operations`` filled, with as many as one reply
    ///     carries.
    /// - Throws: EINVAL, ENOENT (a handle; a closed or banned VM), ENOSPC, ENOMEM; the VM is then
    ///   as it was.
    @discardableResult
    public func bind(
        _ operations: [BindOperation], queue: Queue? = nil, returningOperations: Bool = false
    ) throws(ClientError) -> BindResult {
        try submit(operations, queue, 0, [], [], returningOperations)
    }

    /// Submits `operations`: they wait for `waits`, and `signals` follow them.
    ///
    /// - Parameters:
    ///   - waits: Gate the first operation.
    ///   - signals: Signal once the last one is in the page tables.
    /// - Throws: As ``bind(_:queue:returningOperations:)``; nothing was submitted then.
    @discardableResult
    public func bindAsync(
        _ operations: [BindOperation], queue: Queue? = nil, waits: [SyncPoint] = [],
        signals: [SyncPoint] = [], returningOperations: Bool = false
    ) throws(ClientError) -> BindResult {
        try submit(operations, queue, GPUVM_VM_BIND_ASYNC, waits, signals, returningOperations)
    }

    private func submit(
        _ operations: [BindOperation], _ queue: Queue?, _ flags: UInt32, _ waits: [SyncPoint],
        _ signals: [SyncPoint], _ returningOperations: Bool
    ) throws(ClientError) -> BindResult {
        var contents = gpuvm_vm_bind()
        contents.vm = handle
        contents.queue = queue?.handle ?? 0
        contents.flags = flags | (returningOperations ? GPUVM_VM_BIND_RETURN_OPS : 0)
        contents.op_count = UInt32(clamping: operations.count)
        contents.wait_count = UInt32(clamping: waits.count)
        contents.signal_count = UInt32(clamping: signals.count)
        var request = Request(.vmBind, contents)
        request.append(operations.map(\.raw))
        request.append(waits.map(\.raw))
        request.append(signals.map(\.raw))
        let (head, records) = try connection.calls.perform(request).array(
            gpuvm_vm_bind_reply.self, of: gpuvm_op_record.self
        ) { $0.op_count }
        return BindResult(
            fence: FenceID(context: head.fence_context, sequence: head.fence_sequence),
            operations: records, omittedOperations: Int(head.ops_omitted))
    }
}

extension Connection {
    /// Creates a VM.
    ///
    /// - Parameters:
    ///   - start: The first GPU VA, bytes.
    ///   - range: The size of the address space, bytes.
    ///   - reserved: What the driver keeps for itself; empty for nothing.
    /// - Throws: EINVAL for a space that is not one, EDQUOT, ENOMEM.
    public func makeVM(
        start: UInt64 = 0, range: UInt64, reserved: (start: UInt64, range: UInt64) = (0, 0),
        flags: VMFlags = [], name: String = ""
    ) throws(ClientError) -> VM {
        var contents = gpuvm_vm_create()
        contents.start = start
        contents.range = range
        contents.reserved_start = reserved.start
        contents.reserved_range = reserved.range
        contents.flags = flags.rawValue
        contents.name = WireName.encode(name)
        let reply = try call(Request(.vmCreate, contents), reply: gpuvm_handle_reply.self)
        return VM(self, handle: reply.handle)
    }
}
