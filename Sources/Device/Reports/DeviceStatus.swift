import Fencing
import Memory
import PageTables
import Synchronization

/// The device at one moment.
public struct DeviceStatus: Sendable {
    /// ns since the device was made.
    public var uptime: UInt64 = 0
    /// Clients.
    public var clients = 0
    /// VMs of all clients.
    public var vms = 0
    /// Buffer handles of all clients.
    public var buffers = 0
    /// Queues of all clients.
    public var queues = 0
    /// Sync objects of all clients.
    public var syncobjs = 0
    /// Mappings in all VMs.
    public var mappings = 0
    /// Bytes of VRAM held by buffers.
    public var vramUsed: UInt64 = 0
    /// Bytes of VRAM that the CPU can see.
    public var visibleVRAMBytes: UInt64 = 0
    /// Those of them that buffers hold.
    public var visibleVRAMUsed: UInt64 = 0
    /// Bytes of system memory held.
    public var systemUsed: UInt64 = 0
    /// Buffers that had to leave VRAM so far.
    public var evictions: UInt64 = 0
    /// Buffers that were brought back so far.
    public var restores: UInt64 = 0
    /// Bytes of both.
    public var bytesMoved: UInt64 = 0
    /// Buffers that are in VRAM.
    public var residentBuffers: UInt64 = 0
    /// Buffers that had to leave it and are not back.
    public var evictedBuffers: UInt64 = 0
    /// Page-table pages that there are.
    public var tablePages = 0
    /// Those that are tables.
    public var tablePagesUsed = 0
    /// Those that are promised to jobs and large leaves.
    public var tablePagesReserved = 0
    /// Bind jobs that have ended.
    public var bindJobs: UInt64 = 0
    /// Exec jobs that have ended.
    public var execJobs: UInt64 = 0
    /// Jobs of both kinds that ended with an error.
    public var failedJobs: UInt64 = 0
    /// Faults of all engines.
    public var faults: UInt64 = 0
    /// Binds that a personality refused for what they asked for.
    public var refusedBinds: UInt64 = 0
    /// What the VMs made of the binds that they accepted.
    public var operations = OperationCounts()
    /// The sum of all MMUs' counters.
    public var mmu = MMUTotals()
}

/// What all MMUs of a device have done.
public struct MMUTotals: Sendable, Equatable {
    /// Bytes that engines read.
    public var bytesRead: UInt64 = 0
    /// Bytes that engines wrote.
    public var bytesWritten: UInt64 = 0
    /// TLB look-ups that hit.
    public var hits: UInt64 = 0
    /// TLB look-ups that walked.
    public var misses: UInt64 = 0
    /// Invalidations of a range or a space.
    public var invalidations: UInt64 = 0
}

extension Device {
    /// The device as it is now. O(clients).
    public func status() -> DeviceStatus {
        var status = DeviceStatus()
        status.uptime = Runtime.now() - startTime
        for client in clients {
            let counts = client.counts
            status.clients += 1
            status.vms += counts.vms
            status.buffers += counts.buffers
            status.queues += counts.queues
            status.syncobjs += counts.syncobjs
            status.mappings += counts.mappings
        }
        status.vramUsed = memory.vramUsedBytes
        status.visibleVRAMBytes = memory.vram.bytes
        status.visibleVRAMUsed = memory.vram.usedBytes
        let pressure = residency.statistics
        status.evictions = pressure.evictions
        status.restores = pressure.restores
        status.bytesMoved = pressure.bytesMoved
        status.residentBuffers = pressure.residentBuffers
        status.evictedBuffers = pressure.evictedBuffers
        status.systemUsed = memory.system.usedBytes
        status.tablePages = tablePool.capacity
        status.tablePagesUsed = tablePool.allocated
        status.tablePagesReserved = tablePool.reserved
        status.bindJobs = counters.bindJobs.load(ordering: .relaxed)
        status.execJobs = counters.execJobs.load(ordering: .relaxed)
        status.failedJobs = counters.failedJobs.load(ordering: .relaxed)
        status.faults = counters.faults.load(ordering: .relaxed)
        status.refusedBinds = counters.refusedBinds.load(ordering: .relaxed)
        status.operations = counters.operations
        for mmu in mmus.mmus {
            let one = mmu.statistics
            status.mmu.bytesRead += one.bytesRead
            status.mmu.bytesWritten += one.bytesWritten
            status.mmu.hits += one.hits
            status.mmu.misses += one.misses
            status.mmu.invalidations += one.invalidations
        }
        return status
    }
}
