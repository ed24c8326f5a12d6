/// What one client may hold at a time; a request beyond answers the errno beside each.
public struct ClientQuotas: Sendable, Equatable {
    /// Bytes in buffers: ENOMEM.
    public var bufferBytes: UInt64 = 4 << 30
    /// Buffers, alive or imported: ENOSPC.
    public var buffers = 4096
    /// VMs: ENOSPC.
    public var vms = 256
    /// Exec and bind queues: ENOSPC.
    public var queues = 1024
    /// Sync objects: ENOSPC.
    public var syncobjs = 65_536
    /// Mappings in all VMs: ENOSPC. No unmap is ever refused: it may pass the quota.
    public var mappings = 4_000_000
    /// Jobs submitted and not yet finished: EAGAIN.
    public var jobsInFlight = 16_384
    /// Bind operations of jobs not yet finished: EAGAIN.
    public var operationsInFlight = 1 << 20
    /// Page-table pages in tables, in reserve for the splitting of large leaves, and promised to
    /// jobs, in all VMs: ENOSPC. In the generic format a sparse range takes a page for each 2 MiB in
    /// reserve, in NVIDIA's none but at its edges.
    public var tablePages = 1 << 18
    /// Descriptors that the daemon keeps open for the client's fences: EMFILE.
    public var descriptors = 1024

    /// The defaults.
    public init() {}
}
