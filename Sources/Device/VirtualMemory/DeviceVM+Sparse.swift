import GPUVMCore
import PageTables

// Sparse regions: what a personality asks for, not the native protocol.
extension DeviceVM {
    /// Checks an array against the regions as they are before it; under the VM's lock.
    ///
    /// Source: bind_validate_region (drivers/gpu/drm/nouveau/nouveau_uvmm.c): a region that the array
    /// itself removes counts still, so it cannot be made anew there in one request.
    func checkSparseRegions(_ operations: [BindStep]) throws(DeviceError) {
        guard !sparse.isEmpty else { return }
        for index in operations.indices {
            let kind = operations[index].kind
            guard kind == .map || kind == .createSparse else { continue }
            let addresses = operations[index].addresses
            guard let region = sparse.first(overlapping: addresses) else { continue }
            if kind == .createSparse { throw .sparse(operation: index, .overlaps) }
            guard
                region.lowerBound <= addresses.lowerBound,
                region.upperBound >= addresses.upperBound
            else { throw .sparse(operation: index, .crosses) }
        }
    }

    /// Checks one operation against the regions as the array has made them so far, and as they were
    /// before it.
    ///
    /// - Returns: Whether a region lies under the operation's range.
    func checkSparse(
        _ operation: BindStep, index: Int, in regions: SparseRegions
    ) throws(DeviceError) -> Bool {
        let region = regions.first(overlapping: operation.addresses)
        switch operation.kind {
        case .map:
            if let region {
                guard
                    region.lowerBound <= operation.addresses.lowerBound,
                    region.upperBound >= operation.addresses.upperBound
                else { throw .sparse(operation: index, .crosses) }
            } else if sparse.first(overlapping: operation.addresses) != nil {
                throw .sparse(operation: index, .isRemoved)
            }
        case .createSparse:
            guard region == nil else { throw .sparse(operation: index, .exists) }
        case .removeSparse:
            guard region == operation.addresses else {
                throw .sparse(operation: index, .missing)
            }
        case .unmap, .mapNull, .unmapAll, .prefetch: break
        }
        return region != nil
    }

    /// Makes a region; what is mapped in it stays mapped. Its page-table entries are the gaps'.
    func createSparse(
        _ operation: BindStep, index: Int, plan: inout BindPlan,
        _ regions: inout SparseRegions
    ) throws(DeviceError) {
        guard space.isValid(address: operation.address, range: operation.range) else {
            throw .bind(
                operation: index,
                .invalidRange(address: operation.address, range: operation.range))
        }
        var gaps: [Range<UInt64>] = []
        var start = operation.address
        let end = operation.addresses.upperBound
        space.forEachVA(from: start) { va in
            guard va.address < end else { return false }
            if start < va.address { gaps.append(start..<va.address) }
            start = max(start, va.address + va.range)
            return true
        }
        if start < end { gaps.append(start..<end) }
        for gap in gaps { try plan.showSparse(gap, of: operation.addresses) }
        regions.insert(operation.addresses)
        plan.counts.sparseMaps += 1
    }
}

extension DeviceVM {
    /// The sparse regions, ascending: what lies under the mappings there.
    public var sparseRegions: [Range<UInt64>] { lock.withLock { sparse.regions } }
}
