import Engines

/// What a device is made of: sizes in bytes, times in nanoseconds.
public struct DeviceConfiguration: Sendable, Equatable {
    /// What the device calls itself.
    public var name = "gpuvmd simulated GPU"
    /// VRAM for buffers; a multiple of 4 KiB.
    public var vramBytes: UInt64 = 1 << 30
    /// How much of it the CPU can see, at least 4 KiB; nil: all of it. Less is a "small BAR".
    public var visibleVRAMBytes: UInt64?
    /// System memory that buffers may use; a multiple of 4 KiB.
    public var systemBytes: UInt64 = 4 << 30
    /// VRAM for page tables; a multiple of 4 KiB.
    public var pageTableBytes: UInt64 = 2 << 30
    /// Copy engines, a thread each; 1…16.
    public var copyEngines = 2
    /// Threads that execute bind jobs; 1…8.
    public var bindWorkers = 2
    /// Entries of each engine's TLB, at least 4; rounded up to a power of two.
    public var tlbEntries = 1024
    /// The time-out of a job whose queue asks for none.
    public var jobTimeout: UInt64 = 5_000_000_000
    /// What engines do about missing barriers between copies.
    public var hazards = HazardPolicy.report
    /// Fault records that are remembered.
    public var faultLogEntries = 256
    /// Whether the end of each job is an event.
    public var reportsJobs = false
    /// What one client may hold.
    public var quotas = ClientQuotas()

    /// The defaults: 1 GiB of VRAM, 4 GiB of system memory, two copy engines.
    public init() {}
}
