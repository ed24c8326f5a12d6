import PageTables

/// A simulated NVIDIA engine: it executes GPFIFO push buffers.
///
/// It copies, stores, waits and reports; what would draw or dispatch it refuses. It knows no memory
/// but what its MMU translates. Its jobs are ``NVIDIAContext``s, each of one ``NVIDIAChannel``.
///
/// Threading: immutable; contexts of different channels may run on several threads and then share
/// the MMU.
public final class NVIDIAEngine: Sendable {
    /// Shown in faults.
    public let name: String
    /// The only way to memory.
    public let mmu: MMU
    /// What it does about missing barriers between copies.
    public let hazards: HazardPolicy
    /// What the engine has done.
    public let counters = NVIDIACounters()

    /// Creates an engine that reaches memory through `mmu`.
    public init(name: String, mmu: MMU, hazards: HazardPolicy = .report) {
        self.name = name
        self.mmu = mmu
        self.hazards = hazards
    }
}
