import GPUVMCore

/// What VMs made of the binds that they accepted, by kind of op; those of VMs in immediate mode, which
/// are known in the job only, are not in it.
public struct OperationCounts: Sendable, Equatable {
    /// Mappings inserted.
    public var maps: UInt64 = 0
    /// Mappings that were cut.
    public var remaps: UInt64 = 0
    /// Mappings removed.
    public var unmaps: UInt64 = 0
    /// Sparse regions made.
    public var sparseMaps: UInt64 = 0
    /// Sparse regions removed.
    public var sparseUnmaps: UInt64 = 0

    /// Adds a list that was planned; a prefetch changes nothing.
    mutating func add(_ ops: borrowing OpList) {
        maps += UInt64(ops.mapCount)
        remaps += UInt64(ops.remapCount)
        unmaps += UInt64(ops.unmapCount)
    }
}
