import Synchronization

/// What the device has done since its start.
final class DeviceCounters: Sendable {
    let bindJobs = Atomic<UInt64>(0)
    let execJobs = Atomic<UInt64>(0)
    let failedJobs = Atomic<UInt64>(0)
    let faults = Atomic<UInt64>(0)
    let refusedBinds = Atomic<UInt64>(0)
    private let maps = Atomic<UInt64>(0)
    private let remaps = Atomic<UInt64>(0)
    private let unmaps = Atomic<UInt64>(0)
    private let sparseMaps = Atomic<UInt64>(0)
    private let sparseUnmaps = Atomic<UInt64>(0)

    func add(_ counts: OperationCounts) {
        maps.add(counts.maps, ordering: .relaxed)
        remaps.add(counts.remaps, ordering: .relaxed)
        unmaps.add(counts.unmaps, ordering: .relaxed)
        sparseMaps.add(counts.sparseMaps, ordering: .relaxed)
        sparseUnmaps.add(counts.sparseUnmaps, ordering: .relaxed)
    }

    var operations: OperationCounts {
        OperationCounts(
            maps: maps.load(ordering: .relaxed), remaps: remaps.load(ordering: .relaxed),
            unmaps: unmaps.load(ordering: .relaxed),
            sparseMaps: sparseMaps.load(ordering: .relaxed),
            sparseUnmaps: sparseUnmaps.load(ordering: .relaxed))
    }
}
