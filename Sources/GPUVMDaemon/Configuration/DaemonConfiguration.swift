import Engines
import Logging

/// Everything that an operator can decide about a daemon, validated.
///
/// A value comes from ``ConfigurationLoader`` (file and environment) or starts from the defaults;
/// ``ConfigurationSchema`` is the one table of keys, ranges and texts. `Config/gpuvmd.yaml` explains
/// each key and holds the defaults.
public struct DaemonConfiguration: Sendable, Equatable {
    /// The socket that clients connect to.
    public var socket = Socket()
    /// Who may connect, and as what.
    public var access = Access()
    /// The daemon's own log.
    public var log = Log()
    /// The simulated GPU.
    public var device = Device()
    /// What one client may hold.
    public var quotas = Quotas()
    /// What all clients together may hold.
    public var limits = Limits()
    /// The record of recent GPU faults.
    public var faultLog = FaultLog()

    /// The defaults.
    public init() {}

    /// The listening socket's place and permissions.
    public struct Socket: Sendable, Equatable {
        /// Absolute path; nil means the place that ``SocketLocation`` finds.
        public var path: String?
        /// Permission bits of the socket file.
        public var mode: UInt32 = 0o660
        /// Name or number of the group that owns the socket file; nil leaves the daemon's own.
        public var group: String?
    }

    /// Who may connect, and as what: names or numbers, separated by commas.
    public struct Access: Sendable, Equatable {
        /// Users who may connect.
        public var users = ""
        /// Groups whose members may connect; everybody may if this and ``users`` are empty.
        public var groups = ""
        /// Users who may see other clients, use high priority and inject faults.
        public var privilegedUsers = ""
        /// Groups whose members may do the same.
        public var privilegedGroups = ""
    }

    /// The daemon's log.
    public struct Log: Sendable, Equatable {
        /// Lines below this level are not written.
        public var level = Logger.Level.info
        /// The form of a line.
        public var format = LogFormat.auto
        /// Lines that one client may cause in a second before the rest is only counted.
        public var clientLinesPerSecond = 20
    }

    /// The simulated GPU; sizes in bytes.
    public struct Device: Sendable, Equatable {
        /// The name that clients and logs show.
        public var name = "gpuvmd simulated GPU"
        /// The GPU that DRM programs take it for.
        public var model = GPUModel.tu104
        /// Video memory for buffer objects.
        public var vram: UInt64 = 1 << 30
        /// The part of ``vram`` that clients' CPU mappings reach; nil for all of it.
        public var visibleVRAM: UInt64?
        /// System memory for buffer objects, placed there or evicted to it.
        public var systemMemory: UInt64 = 4 << 30
        /// Private video memory for page tables.
        public var pageTableMemory: UInt64 = 2 << 30
        /// Engines that execute command streams.
        public var copyEngines = 2
        /// Threads that write page tables for bind queues.
        public var bindWorkers = 2
        /// Entries of each engine's TLB, rounded up to a power of two.
        public var tlbEntries = 1024
        /// Time that a job may run before its queue is reset and banned, ns.
        public var jobTimeout: UInt64 = 5_000_000_000
        /// What engines do about missing barriers between the copies of DRM programs.
        public var hazards = HazardPolicy.report
    }

    /// What one client may hold at a time.
    public struct Quotas: Sendable, Equatable {
        /// Bytes of all buffer objects.
        public var boBytes: UInt64 = 4 << 30
        /// Buffer objects.
        public var bos = 4096
        /// GPU VMs.
        public var vms = 256
        /// Exec queues and bind queues.
        public var queues = 1024
        /// Sync objects.
        public var syncobjs = 65_536
        /// Mappings of all VMs.
        public var mappings = 4_000_000
        /// Jobs submitted whose fences have not signalled.
        public var jobsInFlight = 16_384
        /// Operations in binds whose fences have not signalled.
        public var bindOperationsInFlight = 1 << 20
        /// Page-table memory in tables, in reserve for the splitting of large leaves, and promised
        /// to unfinished binds.
        public var pageTableBytes: UInt64 = 1 << 30
        /// Descriptors that the daemon keeps open for exported fences and registered eventfds.
        public var fenceDescriptors = 1024
        /// Waits for sync objects that the daemon keeps.
        public var waits = 4096
        /// Requests in a second; one that is refused counts as ten.
        public var requestsPerSecond = 100_000
        /// Requests that may come at once after a pause.
        public var requestBurst = 20_000

        /// The descriptors that a client can make the daemon keep open: one for each buffer object,
        /// and those of its fences.
        var descriptors: Int { bos + fenceDescriptors }
    }

    /// What all clients together may hold.
    public struct Limits: Sendable, Equatable {
        /// Connections at a time.
        public var maxClients = 64
        /// Connections of one user at a time; privileged ones are not counted.
        public var maxClientsPerUser = 48
        /// Requests of all clients in a second, in equal shares for those who ask for much.
        public var requestsPerSecond = 100_000
        /// How long a connection may take for its first request, ns.
        public var helloTimeout: UInt64 = 10_000_000_000
    }

    /// The record of recent GPU faults.
    public struct FaultLog: Sendable, Equatable {
        /// Faults kept; the oldest gives way.
        public var entries = 256
    }

    /// The same configuration with quotas by which no client alone can take more than half of the
    /// process's descriptors.
    ///
    /// Those of buffer objects and of fences shrink in the same proportion, neither below 1.
    ///
    /// - Parameters:
    ///   - limit: RLIMIT_NOFILE of the process.
    ///   - reserve: Descriptors that the daemon needs for itself.
    public func fitted(toDescriptorLimit limit: Int, reserve: Int = 64) -> DaemonConfiguration {
        let available = (limit - reserve) / 2
        guard quotas.descriptors > available else { return self }
        var fitted = self
        fitted.quotas.bos = max(1, available * quotas.bos / quotas.descriptors)
        fitted.quotas.fenceDescriptors = max(1, available - fitted.quotas.bos)
        return fitted
    }
}
