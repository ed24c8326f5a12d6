#if MUTANTS
    import Fencing
#endif

// Planning: what a request means for the mappings as they are. Nothing here changes the VM.
extension GPUVM {
    /// The ops that map the request: for every mapping it overlaps an unmap or a remap, by address,
    /// then the map.
    ///
    /// `keep` is set where an old mapping has the request's object with contiguous offsets.
    ///
    /// - Parameter ops: Replaced. The request's object stays alive until they are applied.
    /// - Throws: ``GPUVMError/invalidRange(address:range:)``, ``GPUVMError/closed``.
    /// - Complexity: O(log n + ops); allocates nothing if the list has room.
    ///
    /// Source: `drm_gpuvm_sm_map_ops_create`.
    public func planMap(_ request: MapRequest, into ops: inout OpList) throws(GPUVMError) {
        try planMap(request.op, into: &ops)
    }

    /// As ``planMap(_:into:)-(MapRequest,_)``, of the op that the request comes to.
    public func planMap(_ map: GPUVAOp.Map, into ops: inout OpList) throws(GPUVMError) {
        try beginPlan(&ops, map.piece.address, map.piece.range)
        let end = map.piece.address &+ map.piece.range
        var cursor = firstOverlap(map.piece.address, end &- 1)
        while cursor != .end, tree.key(at: cursor) < end {
            let old = va(tree.id(at: cursor))
            ops.append(replace(old, by: map, end))
            if old.end >= end { break }
            cursor = tree.next(cursor)
        }
        ops.append(.map(map))
    }

    /// What becomes of `old` where `map`, up to `end`, takes its place.
    @inline(__always)
    func replace(_ old: GPUVA, by map: GPUVAOp.Map, _ end: UInt64) -> GPUVAOp {
        let address = map.piece.address
        let isSameObject =
            map.unmanagedObject != nil
            && map.unmanagedObject?.toOpaque() == old.unmanagedObject?.toOpaque()
        let isContiguous =
            isSameObject && old.offset &- map.piece.offset == old.address &- address
        let overlap = OverlapCase(
            old, address, end, isSameObject: isSameObject, isContiguous: isContiguous)
        var keep = isContiguous
        #if MUTANTS
            if Mutant.isPlanted("keepWrongForOneCase"), overlap == .requestContinuesEnd {
                keep = false
            }
        #endif
        return cut(old, address, end, keep: keep, overlap)
    }

    /// The ops that unmap the range: an unmap or a remap for every mapping in it, by address, none
    /// of them with `keep`.
    ///
    /// - Throws: ``GPUVMError/invalidRange(address:range:)``, ``GPUVMError/closed``.
    ///
    /// Source: `drm_gpuvm_sm_unmap_ops_create`.
    public func planUnmap(
        address: UInt64, range: UInt64, into ops: inout OpList
    ) throws(GPUVMError) {
        try beginPlan(&ops, address, range)
        let end = address &+ range
        var cursor = firstOverlap(address, end &- 1)
        while cursor != .end, tree.key(at: cursor) < end {
            ops.append(remove(va(tree.id(at: cursor)), address, end))
            cursor = tree.next(cursor)
        }
    }

    /// What becomes of `old` where an unmap request takes the range from `address` to `end` away.
    @inline(__always)
    func remove(_ old: GPUVA, _ address: UInt64, _ end: UInt64) -> GPUVAOp {
        let overlap = OverlapCase(old, address, end, isSameObject: false, isContiguous: false)
        return cut(old, address, end, keep: false, overlap)
    }

    /// The ops that split mappings without an object at the request's two ends, and unmap none.
    ///
    /// If one mapping covers the whole request, the part cut out is mapped as the request says; at
    /// an end that only overlaps, the part cut out becomes a mapping without an object.
    ///
    /// - Throws: ``GPUVMError/invalidRange(address:range:)``, ``GPUVMError/closed``.
    ///
    /// Source: `drm_gpuvm_madvise_ops_create`.
    public func planMadvise(_ request: MapRequest, into ops: inout OpList) throws(GPUVMError) {
        try beginPlan(&ops, request.address, request.range)
        let end = request.address &+ request.range
        var cursor = firstOverlap(request.address, end &- 1)
        while cursor != .end, tree.key(at: cursor) < end {
            let old = va(tree.id(at: cursor))
            cursor = tree.next(cursor)
            if old.unmanagedObject != nil { continue }
            let startsBefore = old.address < request.address
            if startsBefore || old.end > end {
                let overlap = OverlapCase(
                    old, request.address, end, isSameObject: false, isContiguous: false)
                ops.append(cut(old, request.address, end, keep: false, overlap))
                if startsBefore && old.end < end {
                    ops.append(.split(request.address, old.end &- request.address))
                } else if old.address > request.address {
                    ops.append(.split(old.address, end &- old.address))
                } else {
                    ops.append(.map(request.op))
                }
            }
            if old.end >= end { break }
        }
    }

    /// A prefetch op for every mapping in the range, by address, the reserved node included; nothing
    /// is validated. Bytes.
    ///
    /// Source: `drm_gpuvm_prefetch_ops_create`.
    public func planPrefetch(address: UInt64, range: UInt64, into ops: inout OpList) {
        ops.removeAll()
        ops.generation = state.pointee.generation
        let end = address &+ range
        var cursor = firstOverlap(address, end &- 1)
        while cursor != .end, tree.key(at: cursor) < end {
            ops.append(.prefetch(va(tree.id(at: cursor))))
            cursor = tree.next(cursor)
        }
    }

    /// An unmap op for every mapping of the object in this VM, in link order.
    ///
    /// - Throws: ``GPUVMError/noEntry(address:range:)`` if nothing maps it,
    ///   ``GPUVMError/closed``.
    ///
    /// Source: `drm_gpuvm_bo_unmap_ops_create`.
    public func planUnmapObject(
        _ object: GPUVMObject, into ops: inout OpList
    ) throws(GPUVMError) {
        ops.removeAll()
        try checkOpen()
        ops.generation = state.pointee.generation
        guard findVMBO(object) != 0 else { throw .noEntry(address: 0, range: 0) }
        var id = firstMapping(of: object)
        while id != 0 {
            ops.append(.unmap(GPUVAOp.Unmap(va: va(id), keep: false, overlapCase: nil)))
            id = vas[id].next
        }
    }

    private func beginPlan(
        _ ops: inout OpList, _ address: UInt64, _ range: UInt64
    ) throws(GPUVMError) {
        ops.removeAll()
        try checkOpen()
        guard isValid(address: address, range: range) else {
            throw .invalidRange(address: address, range: range)
        }
        ops.generation = state.pointee.generation
    }

    /// What becomes of `old` where the range from `address` to `end` is taken out of it.
    @inline(__always)
    private func cut(
        _ old: GPUVA, _ address: UInt64, _ end: UInt64, keep: Bool, _ overlap: OverlapCase
    ) -> GPUVAOp {
        let startsBefore = old.address < address
        let endsBehind = old.end > end
        guard startsBefore || endsBehind else {
            return .unmap(GPUVAOp.Unmap(va: old, keep: keep, overlapCase: overlap))
        }
        let previous = GPUVAOp.Piece(
            address: old.address, range: address &- old.address, offset: old.offset)
        let next = GPUVAOp.Piece(
            address: end, range: old.end &- end, offset: old.offset &+ (end &- old.address))
        return .remap(
            GPUVAOp.Remap(
                va: old, previous: startsBefore ? previous : nil, next: endsBehind ? next : nil,
                keep: keep, overlapCase: overlap))
    }
}

extension MapRequest {
    var op: GPUVAOp.Map {
        GPUVAOp.Map(
            piece: GPUVAOp.Piece(address: address, range: range, offset: offset), flags: flags,
            unmanagedObject: object.map { Unmanaged.passUnretained($0) })
    }
}

extension GPUVAOp {
    /// A mapping without an object over a part that was cut out of one.
    fileprivate static func split(_ address: UInt64, _ range: UInt64) -> GPUVAOp {
        .map(
            Map(
                piece: Piece(address: address, range: range, offset: 0), flags: [],
                unmanagedObject: nil))
    }
}

extension OverlapCase {
    /// The case of an old mapping and a request from `address` to `end`.
    @inline(__always)
    init(
        _ old: GPUVA, _ address: UInt64, _ end: UInt64, isSameObject: Bool, isContiguous: Bool
    ) {
        if old.address == address {
            if old.end == end {
                self =
                    isContiguous
                    ? .identical : isSameObject ? .sameRangeOtherOffset : .sameRangeOtherObject
            } else if old.end < end {
                self = .oldIsHead
            } else {
                self = isContiguous ? .requestIsContiguousHead : .requestIsHead
            }
        } else if old.address < address {
            if old.end == end {
                self = isContiguous ? .requestIsContiguousTail : .requestIsTail
            } else if old.end < end {
                self = isContiguous ? .requestContinuesEnd : .requestOverlapsEnd
            } else {
                self = isContiguous ? .requestIsContiguousMiddle : .requestIsMiddle
            }
        } else if old.end == end {
            self = .oldIsTail
        } else {
            self = old.end < end ? .oldIsMiddle : .requestOverlapsStart
        }
    }
}
