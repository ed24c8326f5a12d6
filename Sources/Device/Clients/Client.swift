import Fencing
import Memory
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
        var buffers = HandleTable<ClientBuffer>()
        /// By the buffer's device-wide id.
        var bufferHandles: [UInt64: UInt32] = [:]
        var vms = HandleTable<DeviceVM>()
        var queues = HandleTable<DeviceQueue>()
        var syncobjs = HandleTable<ClientSyncobj>()
        var recentJobs = JobLog()
    }

    let state = Guarded(.client, State())
    let usage = ClientUsage()
    /// Ends waits of requests in progress when the client is closed.
    let cancellation = Cancellation()
    /// Whether it has made rules of fault injection.
    let hasMadeRules = Atomic<Bool>(false)

    init(
        id: UInt32, name: String, process: Int32, user: UInt32, isPrivileged: Bool,
        device: Device, quotas: ClientQuotas,
        fencePage: FencePage
    ) {
        self.id = id
        self.name = name
        self.process = process
        self.user = user
        self.isPrivileged = isPrivileged
        self.device = device
        self.fencePage = fencePage
        descriptorQuota = FenceFDQuota(limit: quotas.descriptors)
        self.quotas = quotas
    }

    /// What it may hold, from its beginning to its end.
    let quotas: ClientQuotas

    // MARK: the end

    /// Ends the client: cancels its jobs, closes its VMs, lets go of its buffers and sync objects.
    ///
    /// Returns when no engine touches memory for this client any more. Takes a slice for each
    /// engine and O(mappings); called again, it does nothing.
    public func close() {
        cancellation.cancel()
        let objects = state.withLock { state -> ([DeviceVM], [ClientBuffer], [ClientSyncobj]) in
            guard !state.isClosed else { return ([], [], []) }
            state.isClosed = true
            state.bufferHandles = [:]
            _ = state.queues.removeAll()
            state.recentJobs = JobLog()
            return (
                state.vms.removeAll(), state.buffers.removeAll(), state.syncobjs.removeAll()
            )
        }
        for vm in objects.0 { vm.beginClose() }
        for vm in objects.0 { vm.close() }
        for buffer in objects.1 { buffer.object.releaseHardReference() }
        for syncobj in objects.2 { syncobj.slot.release() }
        device.unmapUnheldBuffers()
        device.remove(self)
    }

    // MARK: VMs

    /// Makes a GPU VM.
    ///
    /// - Parameters:
    ///   - flags: Its modes.
    ///   - format: What its page tables look like.
    /// - Throws: EINVAL for a space that is empty, misaligned or beyond the page tables' reach, ENOSPC
    ///   for a quota or a full page-table memory, ENOMEM if it is injected.
    public func createVM(
        name: String, start: UInt64, range: UInt64, reservedStart: UInt64 = 0,
        reservedRange: UInt64 = 0, flags: DeviceVM.Flags = [], format: TableFormat = .generic
    ) throws(DeviceError) -> (handle: UInt32, vm: DeviceVM) {
        try meetShortage(at: .vmCreate)
        return try makeVM(
            name: name, start: start, range: range, reservedStart: reservedStart,
            reservedRange: reservedRange, flags: flags, format: format)
    }

    /// As ``createVM(name:start:range:reservedStart:reservedRange:flags:format:)``, for a request that
    /// is not one for a VM.
    func makeVM(
        name: String, start: UInt64, range: UInt64, reservedStart: UInt64,
        reservedRange: UInt64, flags: DeviceVM.Flags = [], format: TableFormat
    ) throws(DeviceError) -> (handle: UInt32, vm: DeviceVM) {
        try device.failures.check("make the VM")
        let vm = try DeviceVM(
            id: device.makeVMID(), name: name, client: self, start: start, range: range,
            reservedStart: reservedStart, reservedRange: reservedRange, flags: flags,
            format: format)
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

    /// Runs `body`, and once more if memory or a quota is used up while jobs are just giving some
    /// back.
    func retryingAfterReleases<Result>(
        _ body: () throws(DeviceError) -> Result
    ) throws(DeviceError) -> Result {
        do throws(DeviceError) {
            return try body()
        } catch {
            switch error {
            case .memory(.exhausted), .quota: device.waitForReleases()
            default: throw error
            }
        }
        return try body()
    }

    func checkOpen(_ state: borrowing State) throws(DeviceError) {
        guard !state.isClosed else { throw .notPermitted("the client is closed") }
    }
}
