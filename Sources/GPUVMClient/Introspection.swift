import CWireProtocol
import SystemPackage
import WireProtocol

/// What the daemon shows of itself. The daemon's user and root see the whole device, others their
/// own connection.
extension Connection {
    /// The device's counters.
    public func status() throws(ClientError) -> gpuvm_status_reply {
        try call(Request(.status), reply: gpuvm_status_reply.self)
    }

    /// What programs under the DRM shim have had done.
    ///
    /// - Throws: EOPNOTSUPP from a daemon of protocol 1.0.
    public func drmInfo() throws(ClientError) -> gpuvm_drm_info_reply {
        try call(Request(.drmInfo), reply: gpuvm_drm_info_reply.self)
    }

    /// What has been done for open files of the DRM shim since the daemon's start, name by name.
    ///
    /// - Parameter client: The id of the open file; nil for all.
    /// - Throws: ENOENT; EOPNOTSUPP from a daemon of protocol 1.1 or older.
    public func drmCounts(
        ofClient client: UInt32? = nil
    ) throws(ClientError) -> [gpuvm_drm_count_record] {
        try list(.drmCounts, of: gpuvm_drm_count_record.self, handle: client ?? 0)
    }

    /// The open files of the DRM shim, and the last of those that were closed.
    ///
    /// - Throws: EOPNOTSUPP from a daemon of protocol 1.1 or older.
    public func drmFiles() throws(ClientError) -> [gpuvm_drm_file_record] {
        try list(.drmFileList, of: gpuvm_drm_file_record.self)
    }

    /// How much memory of which kind is used, and what pressure has led to.
    ///
    /// - Throws: EOPNOTSUPP from a daemon of protocol 1.0.
    public func memoryInfo() throws(ClientError) -> gpuvm_memory_info_reply {
        try call(Request(.memoryInfo), reply: gpuvm_memory_info_reply.self)
    }

    /// The buffer objects, with device-wide ids, and where each of them is.
    ///
    /// Pages of the list are read one after the other: buffers may move or go meanwhile.
    /// - Throws: EOPNOTSUPP from a daemon of protocol 1.0.
    public func buffers() throws(ClientError) -> [gpuvm_bo_record] {
        try list(.boList, of: gpuvm_bo_record.self)
    }

    /// The clients connected.
    public func clients() throws(ClientError) -> [gpuvm_client_record] {
        try list(.clientList, of: gpuvm_client_record.self)
    }

    /// The VMs, with device-wide ids.
    public func vms() throws(ClientError) -> [gpuvm_vm_record] {
        try list(.vmList, of: gpuvm_vm_record.self)
    }

    /// The mappings of a VM by address.
    ///
    /// Pages of the list are read one after the other: a VM that changes meanwhile may show a mix.
    /// - Parameter vm: The device-wide id, as in ``vms()``.
    /// - Throws: ENOENT.
    public func mappings(ofVM vm: UInt32) throws(ClientError) -> [gpuvm_va_record] {
        try list(.vmShow, of: gpuvm_va_record.self, handle: vm)
    }

    /// The sparse regions of a VM by address: where whatever is not mapped reads zero.
    ///
    /// - Parameter vm: The device-wide id, as in ``vms()``.
    /// - Throws: ENOENT; EOPNOTSUPP from a daemon of protocol 1.1 or older.
    public func sparseRegions(ofVM vm: UInt32) throws(ClientError) -> [gpuvm_va_range] {
        try list(.vmSparse, of: gpuvm_va_range.self, handle: vm)
    }

    /// How the MMU translates `address`, level by level.
    ///
    /// - Parameter vm: The device-wide id, as in ``vms()``.
    /// - Throws: ENOENT; EINVAL for an address outside of the VM.
    public func walk(
        vm: UInt32, address: UInt64
    ) throws(ClientError) -> gpuvm_vm_walk_reply {
        try call(
            Request(.vmWalk, gpuvm_vm_walk(vm: vm, reserved: 0, address: address)),
            reply: gpuvm_vm_walk_reply.self)
    }

    /// When a job was submitted, started and finished.
    ///
    /// - Throws: ENOENT once the device has forgotten the fence.
    public func fenceInfo(_ fence: FenceID) throws(ClientError) -> gpuvm_fence_info_reply {
        try call(
            Request(
                .fenceInfo, gpuvm_fence_info(context: fence.context, sequence: fence.sequence)),
            reply: gpuvm_fence_info_reply.self)
    }

    /// The last faults that the device remembers, oldest first.
    public func faults() throws(ClientError) -> [gpuvm_fault_record] {
        try list(.faultList, of: gpuvm_fault_record.self)
    }

    /// The queues.
    public func queues() throws(ClientError) -> [gpuvm_queue_record] {
        try list(.queueList, of: gpuvm_queue_record.self)
    }

    func list<T: BitwiseCopyable>(
        _ opcode: Opcode, of type: T.Type, handle: UInt32 = 0
    ) throws(ClientError) -> [T] {
        var records: [T] = []
        var cursor: UInt64 = 0
        repeat {
            let page = gpuvm_page(handle: handle, flags: 0, cursor: cursor)
            let (head, part) = try calls.perform(Request(opcode, page)).array(
                gpuvm_page_reply.self, of: T.self
            ) { $0.count }
            records += part
            // A page without records and without an end would be asked for for ever.
            guard head.cursor == 0 || !part.isEmpty else {
                throw ClientError(.protocolError, opcode, "the daemon sent an empty page")
            }
            cursor = head.cursor
        } while cursor != 0
        return records
    }
}
