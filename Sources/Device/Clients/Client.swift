import CPlatform
import Fencing
import GPUVMCore
import Glibc
import Memory
import PageTables
import Scheduling
import Synchronization

/// One client of the device: its handles, its quotas and its fence page.
///
/// Ownership: a handle keeps its object. ``close()`` lets go of everything, at whatever point the
/// client died; it is the normal way for a client to end.
///
/// Threading: every method may be called from any thread; the handle tables are under one lock,
/// which is never held while a VM's is taken for longer than a look-up.
public final class Client: Sendable {
    /// Unique in the device, never used again.
    public let id: UInt32
    /// What reports call it.
    public let name: String
    /// Process id; 0 if it has none.
    public let process: Int32
    /// User id.
    public let user: UInt32
    /// Whether it may use high priority and see other clients.
    public let isPrivileged: Bool
    /// The device that it is a client of.
    public let device: Device
    /// Its view of its sync objects.
    public let fencePage: FencePage
    /// Descriptors that the daemon holds for this client's fences.
    public let descriptorQuota: FenceFDQuota

    struct State {
        var isClosed = false
        var buffers = HandleTable<BufferObject>()
        /// By the buffer's device-wide id.
        var bufferHandles: [UInt64: UInt32] = [:]
        var bufferBytes: UInt64 = 0
        var vms = HandleTable<DeviceVM>()
        var queues = HandleTable<DeviceQueue>()
        var syncobjs = HandleTable<ClientSyncobj>()
        var recentJobs = JobLog()
    }

    let state = Guarded(.client, State())
    let usage = ClientUsage()

    init(
        id: UInt32, name: String, process: Int32, user: UInt32, isPrivileged: Bool,
        device: Device, fencePage: FencePage
    ) {
        self.id = id
        self.name = name
        self.process = process
        self.user = user
        self.isPrivileged = isPrivileged
        self.device = device
        self.fencePage = fencePage
        descriptorQuota = FenceFDQuota(limit: device.configuration.quotas.descriptors)
    }

    var quotas: ClientQuotas { device.configuration.quotas }

    // MARK: the end

    /// Ends the client: cancels its jobs, closes its VMs, lets go of its buffers and sync objects.
    ///
    /// Returns when no engine touches memory for this client any more. Takes a slice for each
    /// engine and O(mappings); called again, it does nothing.
    public func close() {
        let objects = state.withLock { state -> ([DeviceVM], [BufferObject], [ClientSyncobj]) in
            guard !state.isClosed else { return ([], [], []) }
            state.isClosed = true
            state.bufferHandles = [:]
            state.bufferBytes = 0
            _ = state.queues.removeAll()
            state.recentJobs = JobLog()
            return (
                state.vms.removeAll(), state.buffers.removeAll(), state.syncobjs.removeAll()
            )
        }
        for vm in objects.0 { vm.beginClose() }
        for vm in objects.0 { vm.close() }
        for buffer in objects.1 { buffer.releaseHardReference() }
        for syncobj in objects.2 { syncobj.slot.release() }
        device.remove(self)
    }

    // MARK: buffers

    /// Makes a buffer of `size` bytes (rounded up to pages).
    ///
    /// - Parameter localTo: A VM handle: the buffer shares that VM's reservation, and no other VM
    ///   may map it.
    /// - Throws: EINVAL for a size of 0 or beyond the region, ENOMEM or ENOSPC for a quota or a
    ///   full region, ENOENT for the VM, the host's errno (EMFILE, ENOMEM).
    public func createBuffer(
        name: String, size: UInt64, placement: Placement, localTo vmHandle: UInt32? = nil
    ) throws(DeviceError) -> (handle: UInt32, buffer: BufferObject) {
        let bytes = try pages(size)
        let vm: DeviceVM? = if let vmHandle { try self.vm(vmHandle) } else { nil }
        try reserve(bytes: bytes)
        do throws(DeviceError) {
            let buffer = try makeBuffer(name: name, region: placement, vm: vm) {
                () throws(MemoryError) in
                try SharedMemory(name: name, bytes: bytes)
            }
            return (try insert(buffer), buffer)
        } catch {
            unreserve(bytes: bytes)
            throw error
        }
    }

    /// Makes a handle for the memory of a descriptor, which this takes over.
    ///
    /// A descriptor of a live buffer is that buffer, and the same handle if the client has one.
    /// A foreign memfd becomes a buffer in system memory.
    ///
    /// - Throws: EINVAL for what is no memfd on tmpfs or shorter than `size`, EPERM for a buffer that
    ///   is local to another client's VM, and as
    ///   ``createBuffer(name:size:placement:localTo:)``.
    public func importBuffer(
        name: String, descriptor: Int32, size: UInt64
    ) throws(DeviceError) -> (handle: UInt32, buffer: BufferObject) {
        var isOurs = true
        defer { if isOurs { Glibc.close(descriptor) } }
        let bytes = try pages(size)
        let identity: FileIdentity
        do throws(MemoryError) {
            identity = try FileIdentity(of: descriptor)
        } catch {
            throw .memory(error)
        }
        if let known = device.buffer(identity) {
            guard bytes <= known.size else {
                throw .memory(.tooShort(announced: bytes, actual: known.size))
            }
            if let handle = handle(ofBufferWithID: known.id) { return (handle, known) }
            guard !known.isLocal else {
                throw .notPermitted(
                    "the buffer “\(known.name)” is local to a VM of another client")
            }
            try reserve(bytes: known.size)
            // The new handle's own; a first handle has the creator's.
            known.acquireHardReference()
            do throws(DeviceError) {
                return (try insert(known), known)
            } catch {
                known.releaseHardReference()
                unreserve(bytes: known.size)
                throw error
            }
        }
        try reserve(bytes: bytes)
        do throws(DeviceError) {
            isOurs = false
            let buffer = try makeBuffer(name: name, region: .system, vm: nil) {
                () throws(MemoryError) in
                try SharedMemory(importing: descriptor, bytes: bytes)
            }
            return (try insert(buffer), buffer)
        } catch {
            unreserve(bytes: bytes)
            throw error
        }
    }

    /// Forgets a handle. The buffer lives on while VMs map it or jobs need it.
    ///
    /// - Throws: ENOENT.
    public func closeBuffer(_ handle: UInt32) throws(DeviceError) {
        let buffer = state.withLock { state -> BufferObject? in
            guard let buffer = state.buffers.remove(handle) else { return nil }
            state.bufferHandles[buffer.id] = nil
            state.bufferBytes -= buffer.size
            return buffer
        }
        guard let buffer else { throw .noSuch(.buffer, handle: handle) }
        buffer.releaseHardReference()
    }

    /// The buffer behind a handle.
    ///
    /// - Throws: ENOENT.
    public func buffer(_ handle: UInt32) throws(DeviceError) -> BufferObject {
        guard let buffer = state.withLock({ $0.buffers[handle] }) else {
            throw .noSuch(.buffer, handle: handle)
        }
        return buffer
    }

    /// The client's handle of the buffer with a device-wide id, if it has one.
    public func handle(ofBufferWithID id: UInt64) -> UInt32? {
        state.withLock { $0.bufferHandles[id] }
    }

    /// A buffer whose memory may be shared with others.
    ///
    /// - Throws: ENOENT; EPERM for a buffer that is local to a VM, as a GEM driver's prime export.
    public func exportBuffer(_ handle: UInt32) throws(DeviceError) -> BufferObject {
        let buffer = try buffer(handle)
        guard !buffer.isLocal else {
            throw .notPermitted("buffer \(handle) is local to a VM and cannot be exported")
        }
        return buffer
    }

    /// How many mappings of a buffer this client's VMs have.
    public func mappingCount(of buffer: BufferObject) -> Int {
        allVMs.reduce(0) { $0 + $1.vm.mappingCount(of: buffer) }
    }

    private func pages(_ size: UInt64) throws(DeviceError) -> UInt64 {
        let largest = max(device.memory.system.bytes, device.memory.vram.bytes)
        guard size > 0, size <= largest else {
            throw .invalid("a buffer's size is 1…\(largest) bytes, not \(size)")
        }
        return (size + frameSize - 1) / frameSize * frameSize
    }

    private func makeBuffer(
        name: String, region: Placement, vm: DeviceVM?,
        backing: () throws(MemoryError) -> SharedMemory
    ) throws(DeviceError) -> BufferObject {
        try device.failures.check("make the buffer")
        do throws(MemoryError) {
            return try BufferObject(
                name: name, backing: try backing(), region: device.memory.region(region),
                localTo: vm?.reservation)
        } catch {
            throw .memory(error)
        }
    }

    private func insert(_ buffer: BufferObject) throws(DeviceError) -> UInt32 {
        device.register(buffer)
        return try state.withLock { state throws(DeviceError) in
            try checkOpen(state)
            guard state.buffers.count < quotas.buffers else {
                throw .quota(.buffers, limit: UInt64(quotas.buffers))
            }
            let handle = state.buffers.insert(buffer)
            state.bufferHandles[buffer.id] = handle
            return handle
        }
    }

    private func reserve(bytes: UInt64) throws(DeviceError) {
        try state.withLock { state throws(DeviceError) in
            guard bytes <= quotas.bufferBytes,
                state.bufferBytes <= quotas.bufferBytes - bytes
            else { throw .quota(.bufferBytes, limit: quotas.bufferBytes) }
            state.bufferBytes += bytes
        }
    }

    private func unreserve(bytes: UInt64) { state.withLock { $0.bufferBytes -= bytes } }

    // MARK: VMs

    /// Makes a GPU VM.
    ///
    /// - Throws: EINVAL for a space that is empty, misaligned or beyond 48 bits, ENOSPC for a
    ///   quota or a full page-table memory.
    public func createVM(
        name: String, start: UInt64, range: UInt64, reservedStart: UInt64 = 0,
        reservedRange: UInt64 = 0
    ) throws(DeviceError) -> (handle: UInt32, vm: DeviceVM) {
        try device.failures.check("make the VM")
        let vm = try DeviceVM(
            id: device.makeVMID(), name: name, client: self, start: start, range: range,
            reservedStart: reservedStart, reservedRange: reservedRange)
        do throws(DeviceError) {
            let handle = try state.withLock { state throws(DeviceError) in
                try checkOpen(state)
                guard state.vms.count < quotas.vms else {
                    throw .quota(.vms, limit: UInt64(quotas.vms))
                }
                return state.vms.insert(vm)
            }
            return (handle, vm)
        } catch {
            vm.close()
            throw error
        }
    }

    /// Closes a VM: aborts its jobs, unmaps everything. When this returns, no engine touches memory
    /// through it.
    ///
    /// - Throws: ENOENT.
    public func closeVM(_ handle: UInt32) throws(DeviceError) {
        guard let vm = state.withLock({ $0.vms.remove(handle) }) else {
            throw .noSuch(.vm, handle: handle)
        }
        vm.close()
    }

    /// The VM behind a handle.
    ///
    /// - Throws: ENOENT.
    public func vm(_ handle: UInt32) throws(DeviceError) -> DeviceVM {
        guard let vm = state.withLock({ $0.vms[handle] }) else {
            throw .noSuch(.vm, handle: handle)
        }
        return vm
    }

    /// All VMs with their handles, by handle.
    public var allVMs: [(handle: UInt32, vm: DeviceVM)] {
        state.withLock { $0.vms.entries }.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    func checkOpen(_ state: borrowing State) throws(DeviceError) {
        guard !state.isClosed else { throw .notPermitted("the client is closed") }
    }
}
