import Fencing
import GPUVMCore
import Memory
import PageTables

/// What a bind request will do to the page tables, collected operation by operation.
///
/// It owns the page-table pages that it has reserved; dropping it gives them back.
struct BindPlan: ~Copyable {
    var ops = OpList()
    private(set) var updates: [PageTableUpdate] = []
    /// How many updates were asked for; maps that continue each other are one.
    private(set) var operationCount = 0
    private(set) var ranges: [VirtualRange] = []
    private(set) var extents: [PhysicalExtent] = []
    /// What the updates map, and what else the request names: kept until the plan is forgotten.
    private var buffers: [BufferObject]
    /// Where the memory of the request's buffers is, as far as it was asked for: it stays there while
    /// their reservations are locked, and they keep it.
    private var frames: [Unmanaged<BufferFrames>?]
    private(set) var records: [ExecutedOperation] = []
    /// What operations on a whole buffer unmapped.
    private(set) var unmappedByBuffer: [VirtualRange] = []
    /// The ops by kind, for the device's counters.
    var counts = OperationCounts()
    var reservation: TableReservation
    private let table: any PageTableWriting.Type
    private var demand: PageTableDemand
    /// The sparse regions of which updates show a part.
    private var regions: [Range<UInt64>] = []

    /// Whether all updates put entries where there are none, or those that are there already: MMUs
    /// cache no missing entries.
    private(set) var mapsOverNothing = false

    /// How many pages the reservation may have, but for what unmaps need.
    private let tableQuota: Int
    private var unmapTables = 0

    /// - Parameters:
    ///   - format: Of the page table that the plan will be executed on.
    ///   - buffers: The request's, by which its steps name them.
    init(
        _ format: TableFormat, pool: TablePool, tableQuota: Int,
        buffers: [BufferObject] = []
    ) {
        table = format.tableClass
        demand = PageTableDemand(table)
        reservation = pool.emptyReservation()
        self.tableQuota = tableQuota
        self.buffers = buffers
        frames = Array(repeating: nil, count: buffers.count)
    }

    /// Makes room for `count` operations, if each is of the usual kind.
    mutating func makeRoom(for count: Int) {
        updates.reserveCapacity(count)
        ranges.reserveCapacity(count)
        extents.reserveCapacity(count)
    }

    /// Takes note of an operation whose op list has been planned and not yet applied.
    ///
    /// - Parameters:
    ///   - isSparse: Whether a sparse region lies under the operation's range.
    ///   - sparse: All of the VM's; of no use to maps.
    /// - Throws: ``DeviceError/pageTables(_:)`` if the page-table memory cannot hold the worst that
    ///   this operation may need.
    mutating func collect(
        _ operation: BindStep, index: Int, records wanted: Bool, isSparse: Bool,
        over sparse: SparseRegions
    ) throws(DeviceError) {
        counts.add(ops)
        if operation.kind == .removeSparse { counts.sparseUnmaps += 1 }
        if wanted {
            for position in 0..<ops.count {
                records.append(ExecutedOperation(ops[position], request: index))
            }
        }
        let range = VirtualRange(address: operation.address, bytes: operation.range)
        // In a sparse region there are entries where the tree has no mapping.
        let isInsertion =
            ops.count == 1 && (operation.kind == .map || operation.kind == .mapNull) && !isSparse
        if !isInsertion { demand.addReplacement() }
        switch operation.kind {
        case .map:
            guard let buffer = operation.unretainedBuffer else { return }
            guard !buffer._withUnsafeGuaranteedRef({ $0.isEvicted }) else {
                // Nothing leads to an evicted buffer; the next exec brings it back.
                return try hold(range)
            }
            try map(
                range, from: frames(of: buffer, at: Int(operation.bufferIndex)), operation.offset,
                operation.mappingFlags)
        case .mapNull:
            try reserveNull(range)
            let flags: PTEFlags = operation.readOnly ? .readOnly : []
            append(
                .mapNull(address: operation.address, range: operation.range, flags: flags), range)
        case .unmap:
            guard !ops.isEmpty else { return }
            guard isSparse else { return try appendUnmap(range, isOverNull: replacesNull) }
            try unmapShowing(sparse, operation.addresses)
        case .createSparse: return
        case .removeSparse:
            // No entry that reads zero is another region's too.
            try appendUnmap(range, isOverNull: replacesNull)
        case .unmapAll:
            for position in 0..<ops.count {
                guard case .unmap(let unmap) = ops[position] else { continue }
                let range = VirtualRange(address: unmap.va.address, bytes: unmap.va.range)
                try sparse.forEachPiece(of: range.address..<(range.address + range.bytes)) {
                    (piece, region) throws(DeviceError) in
                    try clear(piece, of: region, isOverNull: false)
                }
                unmappedByBuffer.append(range)
            }
        case .prefetch:
            ops.removeAll()
        }
    }

    /// Takes note of a range of a new sparse region that reads zero and drops writes from now on.
    ///
    /// - Throws: ``DeviceError/pageTables(_:)`` or ``DeviceError/quota(_:limit:)``.
    mutating func showSparse(
        _ range: Range<UInt64>, of region: Range<UInt64>
    ) throws(DeviceError) {
        demand.addReplacement()
        try reserveNull(VirtualRange(range))
        appendSparse(range, of: region, isPaid: true)
    }

    private mutating func appendSparse(
        _ range: Range<UInt64>, of region: Range<UInt64>, isPaid: Bool
    ) {
        if regions.last != region { regions.append(region) }
        let covered = VirtualRange(range)
        append(
            .showSparse(
                address: covered.address, range: covered.bytes, region: regions.count - 1,
                isPaid: isPaid), covered)
    }

    /// Takes note of a range that an evicted buffer is mapped to: it has from now on what the buffer's
    /// memory takes, so that neither its return nor an unmap is refused for page tables.
    private mutating func hold(_ range: VirtualRange) throws(DeviceError) {
        if table.keepsTables {
            try reserve(demand.addMap(address: range.address, range: range.bytes))
        } else {
            demand.addRemoval()
        }
        append(.hold(address: range.address, range: range.bytes), range)
    }

    /// Whether the planned ops unmap or cut a mapping of nothing.
    private var replacesNull: Bool {
        for position in 0..<ops.count {
            switch ops[position] {
            case .unmap(let unmap): if unmap.va.flags.contains(.sparse) { return true }
            case .remap(let remap): if remap.va.flags.contains(.sparse) { return true }
            case .map, .prefetch: continue
            }
        }
        return false
    }

    /// Clears a range.
    ///
    /// Where the page table says of the range that it reads zero, that may take tables, of which the
    /// client's quota knows nothing: no unmap is refused for it.
    private mutating func appendUnmap(
        _ range: VirtualRange, isOverNull: Bool
    ) throws(DeviceError) {
        if isOverNull {
            let needed = table.unmapTablesNeeded(address: range.address, range: range.bytes)
            try take(needed)
            unmapTables += needed
        }
        demand.addRemoval()
        append(.unmap(address: range.address, range: range.bytes), range)
    }

    /// Clears what the planned ops unmap; inside of sparse regions those show again.
    private mutating func unmapShowing(
        _ sparse: SparseRegions, _ request: Range<UInt64>
    ) throws(DeviceError) {
        for position in 0..<ops.count {
            let old: GPUVA
            switch ops[position] {
            case .unmap(let unmap): old = unmap.va
            case .remap(let remap): old = remap.va
            case .map, .prefetch: continue
            }
            let start = max(old.address, request.lowerBound)
            let end = min(old.address + old.range, request.upperBound)
            try sparse.forEachPiece(of: start..<end) {
                (piece, region) throws(DeviceError) in
                try clear(piece, of: region, isOverNull: old.flags.contains(.sparse))
            }
        }
    }

    /// Clears a range that a mapping covered. The sparse region that it lies in, if any, shows again.
    private mutating func clear(
        _ range: Range<UInt64>, of region: Range<UInt64>?, isOverNull: Bool
    ) throws(DeviceError) {
        guard let region else {
            return try appendUnmap(VirtualRange(range), isOverNull: isOverNull)
        }
        let covered = VirtualRange(range)
        if table.keepsTables {
            // The mapping has what that takes, be its memory there or not.
            demand.addZeros(address: covered.address, range: covered.bytes)
        } else {
            demand.addReplacement()
            let needed = demand.addNullMap(address: covered.address, range: covered.bytes)
            try take(needed)
            unmapTables += needed
        }
        appendSparse(range, of: region, isPaid: !table.keepsTables)
    }

    /// Takes note of a mapping whose buffer was brought back; such a plan has nothing else.
    ///
    /// What its memory had left when it went may do, if there are no tables for larger leaves.
    ///
    /// - Throws: As ``collect(_:index:records:)``.
    mutating func rebind(_ va: GPUVA, of buffer: BufferObject) throws(DeviceError) {
        mapsOverNothing = true
        if buffers.last !== buffer { buffers.append(buffer) }
        try map(
            VirtualRange(address: va.address, bytes: va.range),
            from: Self.frames(of: Unmanaged.passUnretained(buffer)), va.offset, va.flags,
            isHeld: table.keepsTables)
    }

    /// Where the memory of the request's buffer at `index` is.
    private mutating func frames(
        of buffer: Unmanaged<BufferObject>, at index: Int
    ) -> Unmanaged<BufferFrames> {
        if let known = frames[index] { return known }
        let found = Self.frames(of: buffer)
        frames[index] = found
        return found
    }

    private static func frames(of buffer: Unmanaged<BufferObject>) -> Unmanaged<BufferFrames> {
        guard let frames = buffer._withUnsafeGuaranteedRef({ $0.unretainedFrames }) else {
            preconditionFailure("a resident buffer has frames")
        }
        return frames
    }

    private mutating func map(
        _ range: VirtualRange, from frames: Unmanaged<BufferFrames>, _ offset: UInt64,
        _ flags: GPUVAFlags, isHeld: Bool = false
    ) throws(DeviceError) {
        let first = extents.count
        frames._withUnsafeGuaranteedRef {
            $0.append(offset: offset, length: range.bytes, to: &extents)
        }
        let isJoined = join(range, to: extents.count, flags)
        let needed = demand.addMap(
            address: range.address, range: range.bytes, isContinued: isJoined)
        do throws(DeviceError) {
            try reserve(needed)
        } catch {
            if !isHeld { throw error }
        }
        if isJoined { return }
        append(
            .map(
                address: range.address, extents: first..<extents.count, flags: flags.pteFlags,
                kind: flags.pteKind), range)
    }

    /// The most runs of frames that maps are joined to: the page table's lock and the slices of the
    /// job go by updates.
    private static let runsJoined = 128

    /// Joins a map of `range`, whose frames are the last of the list, to the update before it, if it
    /// goes on there in the same way: the entries are the same then.
    private mutating func join(
        _ range: VirtualRange, to end: Int, _ flags: GPUVAFlags
    ) -> Bool {
        guard case .map(let address, let run, flags.pteFlags, flags.pteKind) = updates.last,
            end - run.lowerBound <= Self.runsJoined
        else { return false }
        let last = ranges.count - 1
        guard ranges[last].address + ranges[last].bytes == range.address else { return false }
        ranges[last].bytes += range.bytes
        updates[last] = .map(
            address: address, extents: run.lowerBound..<end, flags: flags.pteFlags,
            kind: flags.pteKind)
        operationCount += 1
        return true
    }

    /// Rewrites the range of one update; on the signalling path, from the reservation alone.
    mutating func execute(
        _ index: Int, on table: any PageTableWriting, retiring retired: inout RetiredTables
    ) {
        switch updates[index] {
        case .map(let address, let run, let flags, let kind):
            extents.withUnsafeBufferPointer {
                table.map(
                    address, extents: UnsafeBufferPointer(rebasing: $0[run]), flags: flags,
                    kind: Self.written(kind), using: &reservation, retiring: &retired)
            }
        case .mapNull(let address, let range, let flags):
            // A sparse region beside it goes without a table.
            table.mapNull(
                address, range: range, flags: flags, joining: address..<(address + range),
                using: &reservation, retiring: &retired)
        case .showSparse(let address, let range, let region, true):
            table.mapNull(
                address, range: range, flags: [], joining: regions[region],
                using: &reservation, retiring: &retired)
        case .showSparse(let address, let range, let region, false):
            // What the reservation has is other updates'.
            var gain = reservation.pool.emptyReservation()
            table.mapNull(
                address, range: range, flags: [], joining: regions[region],
                using: &gain, retiring: &retired)
            reservation.absorb(gain)
        case .hold(let address, let range):
            table.hold(address, range: range, using: &reservation, retiring: &retired)
        case .unmap(let address, let range):
            table.unmap(address, range: range, using: &reservation, retiring: &retired)
        }
    }

    /// The kind that the entries of a mapping get.
    private static func written(_ kind: UInt8) -> UInt8 {
        #if MUTANTS
            if Mutant.isPlanted("pteKindLost") { return 0 }
        #endif
        return kind
    }

    mutating func takeRecords() -> [ExecutedOperation] {
        defer { records = [] }
        return records
    }

    /// Promises what is left of the reservation to others.
    mutating func returnReservation() { reservation = reservation.pool.emptyReservation() }

    /// Lets go of everything: whoever still keeps the finished job keeps nothing with it.
    mutating func forget() {
        ops = OpList(minimumCapacity: 1)
        updates = []
        ranges = []
        extents = []
        regions = []
        buffers = []
        frames = []
        records = []
        unmappedByBuffer = []
        demand = PageTableDemand(table)
    }

    private mutating func append(_ update: PageTableUpdate, _ range: VirtualRange) {
        updates.append(update)
        ranges.append(range)
        operationCount += 1
    }

    private mutating func reserveNull(_ range: VirtualRange) throws(DeviceError) {
        try reserve(demand.addNullMap(address: range.address, range: range.bytes))
    }

    private mutating func reserve(_ needed: Int) throws(DeviceError) {
        guard needed > 0 else { return }
        guard reservation.count - unmapTables + needed <= tableQuota else {
            throw .quota(.tablePages, limit: UInt64(max(0, tableQuota)))
        }
        try take(needed)
    }

    private mutating func take(_ needed: Int) throws(DeviceError) {
        do throws(PageTableError) {
            try reservation.grow(by: needed)
        } catch {
            throw .pageTables(error)
        }
    }
}
