import Fencing
import Glibc
import Memory
import PageTables

/// A client's handle on a buffer, and what an importer is charged for it.
struct ClientBuffer: Sendable {
    let object: BufferObject
    /// Nil for who made the buffer: its memory itself is charged, for as long as it lives.
    let charge: BufferCharge?
}

extension Client {
    /// Makes a buffer of `size` bytes (rounded up to pages).
    ///
    /// Where VRAM is full, buffers used less recently make room.
    ///
    /// - Parameters:
    ///   - localTo: A VM handle: the buffer shares that VM's reservation, and no other VM may map
    ///     it.
    ///   - needsCPUAccess: Whether its VRAM must be within the CPU's reach.
    /// - Throws: EINVAL for a size of 0 or beyond the region, ENOMEM or ENOSPC for a quota or a
    ///   full region, ENOENT for the VM, the host's errno (EMFILE, ENOMEM).
    public func createBuffer(
        name: String, size: UInt64, placement: Placement, localTo vmHandle: UInt32? = nil,
        needsCPUAccess: Bool = true
    ) throws(DeviceError) -> (handle: UInt32, buffer: BufferObject) {
        _ = try pages(size)
        if let vmHandle { _ = try vm(vmHandle) }
        try meetShortage(at: .bufferCreate)
        return try allocateBuffer(
            name: name, size: size, placement: placement, localTo: vmHandle,
            needsCPUAccess: needsCPUAccess)
    }

    /// As ``createBuffer(name:size:placement:localTo:needsCPUAccess:)``, for a request that is not one
    /// for a buffer, or has been counted as such.
    func allocateBuffer(
        name: String, size: UInt64, placement: Placement, localTo vmHandle: UInt32? = nil,
        needsCPUAccess: Bool = true
    ) throws(DeviceError) -> (handle: UInt32, buffer: BufferObject) {
        defer { device.unmapUnheldBuffers() }
        let bytes = try pages(size)
        let vm: DeviceVM? = if let vmHandle { try self.vm(vmHandle) } else { nil }
        let buffer = try retryingAfterReleases { () throws(DeviceError) in
            let charge = try BufferCharge(bytes: bytes, to: usage, within: quotas)
            return try makeBuffer(
                name: name, placement: placement, needsCPUAccess: needsCPUAccess, vm: vm,
                charge: charge
            ) { () throws(MemoryError) in
                try SharedMemory(name: name, bytes: bytes)
            }
        }
        return (try insert(buffer), buffer)
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
        defer { device.unmapUnheldBuffers() }
        var isOurs = true
        defer { if isOurs { Glibc.close(descriptor) } }
        let bytes = try pages(size)
        try meetShortage(at: .bufferImport)
        let identity: FileIdentity
        do throws(MemoryError) {
            identity = try FileIdentity(of: descriptor)
        } catch {
            throw .memory(error)
        }
        // A buffer that nobody holds any more is on its way out, and its memory a stranger's.
        if let known = device.buffer(identity), known.tryAcquireHardReference() {
            defer { known.releaseHardReference() }
            return try adopt(known, bytes: bytes)
        }
        let charge = try BufferCharge(bytes: bytes, to: usage, within: quotas)
        isOurs = false
        let buffer = try makeBuffer(
            name: name, placement: .system, needsCPUAccess: true, vm: nil, charge: charge
        ) { () throws(MemoryError) in
            try SharedMemory(importing: descriptor, bytes: bytes)
        }
        return (try insert(buffer), buffer)
    }

    /// A handle on a buffer that somebody else made.
    private func adopt(
        _ known: BufferObject, bytes: UInt64
    ) throws(DeviceError) -> (handle: UInt32, buffer: BufferObject) {
        guard bytes <= known.size else {
            throw .memory(.tooShort(announced: bytes, actual: known.size))
        }
        if let handle = handle(ofBufferWithID: known.id) { return (handle, known) }
        guard !known.isLocal else {
            throw .notPermitted("the buffer “\(known.name)” is local to a VM of another client")
        }
        let charge = try BufferCharge(bytes: known.size, to: usage, within: quotas)
        // The new handle's own; a first handle has the creator's.
        known.acquireHardReference()
        do throws(DeviceError) {
            return (try insert(known, charge: charge), known)
        } catch {
            known.releaseHardReference()
            throw error
        }
    }

    /// Forgets a handle. The buffer lives on while VMs map it or jobs need it, and is charged to the
    /// quotas as long as it does.
    ///
    /// - Throws: ENOENT.
    public func closeBuffer(_ handle: UInt32) throws(DeviceError) {
        let buffer = state.withLock { state -> ClientBuffer? in
            guard let buffer = state.buffers.remove(handle) else { return nil }
            state.bufferHandles[buffer.object.id] = nil
            return buffer
        }
        guard let buffer else { throw .noSuch(.buffer, handle: handle) }
        buffer.object.releaseHardReference()
        device.unmapUnheldBuffers()
    }

    /// Unmaps a buffer from all VMs of this client.
    ///
    /// - Returns: For each VM that mapped it a fence that signals when its page tables show that.
    /// - Throws: ENOENT for the handle; ECANCELED, EAGAIN and ENOENT as a bind of one VM, and the VMs
    ///   after it are not reached.
    public func unmapFromAllVMs(_ handle: UInt32) throws(DeviceError) -> [Fence] {
        let buffer = try buffer(handle)
        var fences: [Fence] = []
        for (vmHandle, vm) in allVMs where vm.mappingCount(of: buffer) != 0 {
            let operation = BindOperation(.unmapAll, buffer: buffer)
            fences.append(try bind(vm: vmHandle, operations: [operation]).fence)
        }
        return fences
    }

    /// The buffer behind a handle.
    ///
    /// - Throws: ENOENT.
    public func buffer(_ handle: UInt32) throws(DeviceError) -> BufferObject {
        guard let buffer = state.withLock({ $0.buffers[handle] }) else {
            throw .noSuch(.buffer, handle: handle)
        }
        return buffer.object
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
        let largest = max(device.memory.system.bytes, device.memory.vramBytes)
        guard size > 0, size <= largest else {
            throw .invalid("a buffer's size is 1…\(largest) bytes, not \(size)")
        }
        return (size + frameSize - 1) / frameSize * frameSize
    }

    private func makeBuffer(
        name: String, placement: Placement, needsCPUAccess: Bool, vm: DeviceVM?,
        charge: BufferCharge, backing: () throws(MemoryError) -> SharedMemory
    ) throws(DeviceError) -> BufferObject {
        try device.failures.check("make the buffer")
        let buffer: BufferObject
        do throws(MemoryError) {
            buffer = BufferObject(
                name: name, backing: try backing(), placement: placement,
                needsCPUAccess: needsCPUAccess, residency: device.residency,
                localTo: vm?.reservation, creator: id, account: charge)
        } catch {
            throw .memory(error)
        }
        try device.place(buffer, cancellation: cancellation)
        return buffer
    }

    private func insert(
        _ buffer: BufferObject, charge: BufferCharge? = nil
    ) throws(DeviceError) -> UInt32 {
        let handle = try state.withLock { state throws(DeviceError) in
            try checkOpen(state)
            let handle = state.buffers.insert(ClientBuffer(object: buffer, charge: charge))
            state.bufferHandles[buffer.id] = handle
            return handle
        }
        device.register(buffer)
        return handle
    }
}
