import Synchronization

/// What an ``NVIDIAEngine`` has done since it was made.
///
/// A context adds what it did at the end of each of its quanta.
///
/// Threading: any thread.
public final class NVIDIACounters: Sendable {
    private let host = Atomic<UInt64>(0)
    private let threeD = Atomic<UInt64>(0)
    private let compute = Atomic<UInt64>(0)
    private let inlineToMemory = Atomic<UInt64>(0)
    private let twoD = Atomic<UInt64>(0)
    private let copy = Atomic<UInt64>(0)
    private let copied = Atomic<UInt64>(0)
    private let inlined = Atomic<UInt64>(0)
    private let copyLaunches = Atomic<UInt64>(0)
    private let releases = Atomic<UInt64>(0)
    private let refusals = Atomic<UInt64>(0)
    private let hazards = Atomic<UInt64>(0)

    init() {}

    /// Methods executed of a class; what macros issue counts as well.
    public func methods(_ kind: NVIDIAClassKind) -> UInt64 {
        switch kind {
        case .host: host.load(ordering: .relaxed)
        case .threeD: threeD.load(ordering: .relaxed)
        case .compute: compute.load(ordering: .relaxed)
        case .inlineToMemory: inlineToMemory.load(ordering: .relaxed)
        case .twoD: twoD.load(ordering: .relaxed)
        case .copy: copy.load(ordering: .relaxed)
        }
    }

    /// Bytes that the copy class wrote, or would have if sparse memory had not dropped them.
    public var copiedBytes: UInt64 { copied.load(ordering: .relaxed) }
    /// Bytes written out of push buffers, constant buffers included.
    public var inlineBytes: UInt64 { inlined.load(ordering: .relaxed) }
    /// LAUNCH_DMA methods of the copy class.
    public var launches: UInt64 { copyLaunches.load(ordering: .relaxed) }
    /// Semaphores released, reports and timestamps included.
    public var semaphoreReleases: UInt64 { releases.load(ordering: .relaxed) }
    /// Jobs ended by a method that is not carried out: drawing, dispatching and the like.
    public var refusedMethods: UInt64 { refusals.load(ordering: .relaxed) }

    /// Launches of the copy class that a barrier is missing before, recorded or not.
    public var missingBarriers: UInt64 { hazards.load(ordering: .relaxed) }

    func add(_ tally: borrowing NVIDIATally) {
        host.wrappingAdd(tally.methods[NVIDIAClassKind.host.rawValue], ordering: .relaxed)
        threeD.wrappingAdd(tally.methods[NVIDIAClassKind.threeD.rawValue], ordering: .relaxed)
        compute.wrappingAdd(tally.methods[NVIDIAClassKind.compute.rawValue], ordering: .relaxed)
        inlineToMemory.wrappingAdd(
            tally.methods[NVIDIAClassKind.inlineToMemory.rawValue], ordering: .relaxed)
        twoD.wrappingAdd(tally.methods[NVIDIAClassKind.twoD.rawValue], ordering: .relaxed)
        copy.wrappingAdd(tally.methods[NVIDIAClassKind.copy.rawValue], ordering: .relaxed)
        copied.wrappingAdd(tally.copiedBytes, ordering: .relaxed)
        inlined.wrappingAdd(tally.inlineBytes, ordering: .relaxed)
        copyLaunches.wrappingAdd(tally.launches, ordering: .relaxed)
        releases.wrappingAdd(tally.releases, ordering: .relaxed)
        refusals.wrappingAdd(tally.refusals, ordering: .relaxed)
        hazards.wrappingAdd(tally.hazards, ordering: .relaxed)
    }
}
