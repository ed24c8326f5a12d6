import PageTables
import Synchronization

/// A simulated NVIDIA engine: it executes GPFIFO push buffers.
///
/// It copies, stores, waits and reports; what would draw or dispatch it refuses. It knows no memory
/// but what its MMU translates. Its jobs are ``NVIDIAContext``s, each of one ``NVIDIAChannel``.
///
/// Threading: immutable but for its policy, which any thread may set; contexts of different channels may run on several threads and then share
/// the MMU.
public final class NVIDIAEngine: Sendable {
    /// Shown in faults.
    public let name: String
    /// The only way to memory.
    public let mmu: MMU
    /// An index of ``policies``.
    private let hazardPolicy: Atomic<Int>
    /// What the engine has done.
    public let counters = NVIDIACounters()

    /// Creates an engine that reaches memory through `mmu`.
    public init(name: String, mmu: MMU, hazards: HazardPolicy = .report) {
        self.name = name
        self.mmu = mmu
        hazardPolicy = Atomic(Self.index(hazards))
    }

    /// What it does about missing barriers between copies: those that start from now on.
    public var hazards: HazardPolicy {
        get { Self.policies[hazardPolicy.load(ordering: .relaxed)] }
        set { hazardPolicy.store(Self.index(newValue), ordering: .relaxed) }
    }

    /// Made once: reading a policy allocates nothing.
    private static let policies = HazardPolicy.allCases

    private static func index(_ policy: HazardPolicy) -> Int {
        policies.firstIndex(of: policy) ?? 0
    }
}
