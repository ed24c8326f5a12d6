#if MUTANTS
    import Fencing
#endif

/// Looks for missing barriers between the launches of a channel's copy class.
///
/// Between two points of order it remembers which bytes were read and written, and compares each
/// launch with them. Points of order are: the beginning of a job; a wait for idle of the 3D or the
/// compute class, and their cache invalidations that wait for it; a semaphore's release or acquire,
/// be it the host's, a report or a launch's; the host's reference, flush and wait methods; a
/// non-pipelined launch that moves nothing, which is how Mesa's NVK 26 says barrier; and a
/// non-pipelined launch behind pipelined ones, as the hardware makes it wait for them.
///
/// A driver that has only non-pipelined launches (NVK 25) leaves their order to the hardware, and
/// leaves out barriers because of it: those that order reads before a write, and those whose source
/// is Vulkan's stage COPY alone. Of its launches only reads and writes after a write are reported,
/// as ``CopyHazard/isOrdered``: the program works on this GPU, and may fail on another one. That a
/// barrier of the stage COPY alone is reported with them cannot be helped; the driver drops it.
///
/// Only what is certain is reported: addresses are virtual, so that aliases are not seen; surfaces
/// are compared as ``Footprint/overlap(_:)`` says; a launch that writes only some components of its
/// elements counts as not writing. The bytes of push buffers that upload data are not looked at.
///
/// The hazards of a run of launches that continue each other are one record, and a job has at most
/// ``recordsOfJob``, a channel ``recordsOfChannel``; the rest is only counted.
///
/// Complexity: O(log n) for a launch, n being at most ``capacity`` footprints; what comes beyond is
/// not remembered, which records then say.
///
/// Threading: used by the channel's jobs, one after the other.
final class HazardTracker {
    /// Footprints remembered, of reads and of writes.
    static let capacity = 1024
    /// Footprints that one side of a launch is compared with.
    static let comparisons = 64
    /// Records of a job.
    static let recordsOfJob = 7
    /// Records of a channel.
    static let recordsOfChannel = 64

    private var reads = FootprintTree(capacity: capacity)
    private var writes = FootprintTree(capacity: capacity)
    private var hasPipelined = false
    private var isIncomplete = false
    private var jobRecords = 0
    private var channelRecords = 0

    /// What the comparison of a launch came to.
    struct Finding {
        /// The hazard to report, if there is one and it may be reported.
        var hazard: CopyHazard?
        /// Whether there is one at all.
        var isHazard = false
    }

    init() {}

    /// A job begins.
    func beginJob() {
        order()
        isIncomplete = false
        jobRecords = 0
    }

    /// What comes from now on is ordered behind what was.
    func order() {
        #if MUTANTS
            if Mutant.isPlanted("hazardBarrierIgnored") { return }
        #endif
        reads.removeAll()
        writes.removeAll()
        hasPipelined = false
    }

    /// Compares a launch with those before it, and remembers it.
    ///
    /// - Parameters:
    ///   - source: What it reads; nil for nothing, or nothing that is certain.
    ///   - destination: What it writes; nil as above.
    ///   - site: The GPU VA of its method header.
    func note(
        source: Footprint?, destination: Footprint?, isPipelined: Bool, site: UInt64
    ) -> Finding {
        if !isPipelined && hasPipelined { order() }
        if isPipelined { hasPipelined = true }
        var finding = Finding()
        if let source { compare(source, writes, .readAfterWrite, isPipelined, &finding) }
        if let destination {
            compare(destination, writes, .writeAfterWrite, isPipelined, &finding)
            if isPipelined {
                compare(destination, reads, .writeAfterRead, isPipelined, &finding)
            }
        }
        if let source, !reads.insert(source, site: site) { isIncomplete = true }
        if let destination, !writes.insert(destination, site: site) { isIncomplete = true }
        return finding
    }

    private func compare(
        _ footprint: Footprint, _ tree: borrowing FootprintTree, _ kind: CopyHazard.Kind,
        _ isPipelined: Bool, _ finding: inout Finding
    ) {
        guard finding.hazard == nil else { return }
        var limit = Self.comparisons
        var known = 0
        let found = tree.firstOverlap(footprint, &limit, known: &known)
        if limit == 0 { isIncomplete = true }
        guard let found else {
            if known > 0 { finding.isHazard = true }
            return
        }
        finding.isHazard = true
        tree.markReported(found.index)
        guard jobRecords < Self.recordsOfJob, channelRecords < Self.recordsOfChannel else { return }
        jobRecords += 1
        channelRecords += 1
        finding.hazard = CopyHazard(
            kind: kind, address: found.address, bytes: found.bytes, earlier: found.site,
            isOrdered: !isPipelined, isIncomplete: isIncomplete)
    }
}
