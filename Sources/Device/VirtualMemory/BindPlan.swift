import GPUVMCore
import Memory
import PageTables

/// What a bind request will do to the page tables, collected operation by operation.
///
/// It owns the page-table pages that it has reserved; dropping it gives them back.
struct BindPlan: ~Copyable {
    var ops = OpList()
    private(set) var updates: [PageTableUpdate] = []
    private(set) var ranges: [VirtualRange] = []
    private(set) var extents: [PhysicalExtent] = []
    private(set) var mapped: [BufferObject] = []
    private(set) var records: [ExecutedOperation] = []
    /// What operations on a whole buffer unmapped.
    private(set) var unmappedByBuffer: [VirtualRange] = []
    var reservation: TableReservation
    private var demand = TableDemand<Generic48Format>()

    /// Whether all updates put entries where there are none, or those that are there already: MMUs
    /// cache no missing entries.
    private(set) var mapsOverNothing = false

    /// How many pages the reservation may have.
    private let tableQuota: Int

    init(pool: TablePool, tableQuota: Int) {
        reservation = pool.emptyReservation()
        self.tableQuota = tableQuota
    }

    /// Takes note of an operation whose op list has been planned and not yet applied.
    ///
    /// - Throws: ``DeviceError/pageTables(_:)`` if the page-table memory cannot hold the worst that
    ///   this operation may need.
    mutating func collect(
        _ operation: BindOperation, index: Int, records wanted: Bool, over sparse: SparseRegions
    ) throws(DeviceError) {
        if wanted {
            for position in 0..<ops.count {
                records.append(ExecutedOperation(ops[position], request: index))
            }
        }
        let range = VirtualRange(address: operation.address, bytes: operation.range)
        // In a sparse region there are entries where the tree has no mapping.
        let isInsertion =
            ops.count == 1 && (operation.kind == .map || operation.kind == .mapNull)
            && sparse.first(overlapping: operation.addresses) == nil
        if !isInsertion && operation.kind != .prefetch { demand.addRemoval() }
        switch operation.kind {
        case .map:
            guard let buffer = operation.buffer else { return }
            guard !buffer.isEvicted, let frames = buffer.frames else {
                // Nothing leads to an evicted buffer; the next exec brings it back.
                append(.unmap(address: operation.address, range: operation.range), range)
                return
            }
            try map(
                range, of: buffer, frames, offset: operation.offset, readOnly: operation.readOnly)
        case .mapNull:
            try reserve(range)
            append(
                .mapNull(
                    address: operation.address, range: operation.range,
                    readOnly: operation.readOnly), range)
        case .unmap:
            guard !ops.isEmpty else { return }
            guard sparse.first(overlapping: operation.addresses) != nil else {
                return append(.unmap(address: operation.address, range: operation.range), range)
            }
            try unmapShowing(sparse, operation.addresses)
        case .createSparse: return
        case .removeSparse:
            append(.unmap(address: operation.address, range: operation.range), range)
        case .unmapAll:
            for position in 0..<ops.count {
                guard case .unmap(let unmap) = ops[position] else { continue }
                let range = VirtualRange(address: unmap.va.address, bytes: unmap.va.range)
                try sparse.forEachPiece(of: range.address..<(range.address + range.bytes)) {
                    (piece, isSparse) throws(DeviceError) in
                    if isSparse { try showSparse(piece) } else { appendUnmap(piece) }
                }
                unmappedByBuffer.append(range)
            }
        case .prefetch:
            ops.removeAll()
        }
    }

    /// Takes note of a range that reads zero and drops writes from now on.
    ///
    /// - Throws: ``DeviceError/pageTables(_:)`` or ``DeviceError/quota(_:limit:)``.
    mutating func showSparse(_ range: Range<UInt64>) throws(DeviceError) {
        let bytes = range.upperBound - range.lowerBound
        let covered = VirtualRange(address: range.lowerBound, bytes: bytes)
        demand.addRemoval()
        try reserve(covered)
        append(.mapNull(address: range.lowerBound, range: bytes, readOnly: false), covered)
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
                (piece, isSparse) throws(DeviceError) in
                if isSparse { try showSparse(piece) } else { appendUnmap(piece) }
            }
        }
    }

    private mutating func appendUnmap(_ range: Range<UInt64>) {
        let bytes = range.upperBound - range.lowerBound
        append(
            .unmap(address: range.lowerBound, range: bytes),
            VirtualRange(address: range.lowerBound, bytes: bytes))
    }

    /// Takes note of a mapping whose buffer was brought back to `frames`; such a plan has nothing else.
    ///
    /// - Throws: As ``collect(_:index:records:)``.
    mutating func rebind(
        _ va: GPUVA, of buffer: BufferObject, _ frames: BufferFrames
    ) throws(DeviceError) {
        mapsOverNothing = true
        try map(
            VirtualRange(address: va.address, bytes: va.range), of: buffer, frames,
            offset: va.offset, readOnly: va.flags.contains(.readOnly))
    }

    private mutating func map(
        _ range: VirtualRange, of buffer: BufferObject, _ frames: BufferFrames, offset: UInt64,
        readOnly: Bool
    ) throws(DeviceError) {
        try reserve(range)
        let first = extents.count
        frames.append(offset: offset, length: range.bytes, to: &extents)
        mapped.append(buffer)
        append(
            .map(address: range.address, extents: first..<extents.count, readOnly: readOnly), range)
    }

    /// Rewrites the range of one update; on the signalling path, from the reservation alone.
    mutating func execute(
        _ index: Int, on table: PageTable, retiring retired: inout RetiredTables
    ) {
        switch updates[index] {
        case .map(let address, let run, let readOnly):
            extents.withUnsafeBufferPointer {
                table.map(
                    address, extents: UnsafeBufferPointer(rebasing: $0[run]),
                    flags: readOnly ? .readOnly : [], using: &reservation, retiring: &retired)
            }
        case .mapNull(let address, let range, let readOnly):
            table.mapNull(
                address, range: range, flags: readOnly ? .readOnly : [], using: &reservation,
                retiring: &retired)
        case .unmap(let address, let range):
            table.unmap(address, range: range, retiring: &retired)
        }
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
        mapped = []
        records = []
        unmappedByBuffer = []
        demand = TableDemand()
    }

    private mutating func append(_ update: PageTableUpdate, _ range: VirtualRange) {
        updates.append(update)
        ranges.append(range)
    }

    private mutating func reserve(_ range: VirtualRange) throws(DeviceError) {
        let needed = demand.addMap(address: range.address, range: range.bytes)
        guard reservation.count + needed <= tableQuota else {
            throw .quota(.tablePages, limit: UInt64(max(0, tableQuota)))
        }
        do throws(PageTableError) {
            reservation.absorb(try reservation.pool.reserve(needed))
        } catch {
            throw .pageTables(error)
        }
    }
}
