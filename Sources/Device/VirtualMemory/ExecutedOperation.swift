import GPUVMCore

/// One op of the list that a bind operation became, as clients see it.
public struct ExecutedOperation: Sendable {
    /// What the op does.
    public enum Kind: Sendable {
        /// Inserts `mapping`.
        case map
        /// Replaces `mapping` by `previous` and `next`.
        case remap
        /// Removes `mapping`.
        case unmap
        /// Makes `mapping` resident.
        case prefetch
    }

    /// Index of the bind operation that it comes from.
    public var request: Int
    /// What it does.
    public var kind: Kind
    /// Which overlap of the kernel's "Split and Merge" it is.
    public var overlapCase: OverlapCase?
    /// The page-table entries of what is removed may stay.
    public var keep = false
    /// The new or the old mapping.
    public var mapping: MappingInfo
    /// What stays in front of the request.
    public var previous: MappingInfo?
    /// What stays behind the request.
    public var next: MappingInfo?
}

extension ExecutedOperation {
    init(_ op: GPUVAOp, request: Int) {
        self.request = request
        overlapCase = op.overlapCase
        switch op {
        case .map(let map):
            kind = .map
            mapping = MappingInfo(map.piece, of: map.object, flags: map.flags)
        case .remap(let remap):
            kind = .remap
            keep = remap.keep
            mapping = MappingInfo(remap.va)
            previous = remap.previous.map {
                MappingInfo($0, of: remap.va.object, flags: remap.va.flags)
            }
            next = remap.next.map {
                MappingInfo($0, of: remap.va.object, flags: remap.va.flags)
            }
        case .unmap(let unmap):
            kind = .unmap
            keep = unmap.keep
            mapping = MappingInfo(unmap.va)
        case .prefetch(let va):
            kind = .prefetch
            mapping = MappingInfo(va)
        }
    }
}
