import Fencing
import GPUVMCore
import Memory
import PageTables

/// What a bind request will do to the tree *and* the page table of an immediate-mode VM, when its job
/// executes.
///
/// It owns everything that the execution may need: page-table pages, mappings of the VM's capacity, a
/// reference on the pair of each buffer that it maps.
struct ImmediatePlan: ~Copyable {
    private enum Step {
        /// `extents` is empty for a buffer that is evicted: the range is cleared only.
        case map(MapRequest, GPUVMBO.ID, extents: Range<Int>, isEvicted: Bool)
        case mapNull(MapRequest)
        case unmap(VirtualRange)
        case unmapBuffer(BufferObject)
        /// Writes the entries of all mappings that the buffer has by then.
        case rebind(BufferObject, BufferFrames)
    }

    private let space: GPUVM
    private var steps: [Step] = []
    private var extents: [PhysicalExtent] = []
    private var pairs: [GPUVMBO.ID] = []
    private(set) var tables: TableReservation
    private var mappings: ImmediateReservation
    private let tableQuota: Int
    private let table: any PageTableWriting.Type
    /// Of the buffers that were brought back; such a plan has nothing else.
    private var demand: PageTableDemand
    /// What the requests touch; all of the space if that is known later only.
    private(set) var ranges: [VirtualRange] = []

    var count: Int { steps.count }

    /// - Throws: ENOMEM for the VM's capacity.
    init(
        _ space: GPUVM, _ format: TableFormat, maps: Int, unmaps: Int, pool: TablePool,
        tableQuota: Int
    ) throws(GPUVMError) {
        self.space = space
        table = format.tableClass
        demand = PageTableDemand(table)
        mappings = try space.reserveImmediate(maps: maps, unmaps: unmaps)
        tables = pool.emptyReservation()
        self.tableQuota = tableQuota
    }

    // MARK: submission

    /// Takes note of a checked request; a map obtains its pair.
    ///
    /// - Throws: ENOSPC for page tables, ENOMEM for objects.
    mutating func add(_ operation: BindStep, index: Int) throws(DeviceError) {
        let range = VirtualRange(address: operation.address, bytes: operation.range)
        let request = MapRequest(
            address: operation.address, range: operation.range, object: operation.buffer,
            offset: operation.offset, flags: operation.mappingFlags)
        switch operation.kind {
        case .map:
            guard let buffer = operation.buffer else { return }
            // What is there by then is not known.
            try reserve(table.tablesNeeded(address: range.address, range: range.bytes))
            do throws(GPUVMError) {
                pairs.append(try space.obtain(buffer))
            } catch {
                throw .bind(operation: index, error)
            }
            let first = extents.count
            if !buffer.isEvicted {
                buffer.frames?.append(
                    offset: operation.offset, length: operation.range, to: &extents)
            }
            steps.append(
                .map(
                    request, pairs[pairs.count - 1], extents: first..<extents.count,
                    isEvicted: buffer.isEvicted))
            ranges.append(range)
        case .mapNull:
            try reserve(table.nullTablesNeeded(address: range.address, range: range.bytes))
            steps.append(.mapNull(request))
            ranges.append(range)
        case .unmap:
            // For what it may find that reads zero; no unmap is refused for the quota.
            try take(table.unmapTablesNeeded(address: range.address, range: range.bytes))
            steps.append(.unmap(range))
            ranges.append(range)
        case .unmapAll:
            guard let buffer = operation.buffer else { return }
            steps.append(.unmapBuffer(buffer))
            ranges.append(VirtualRange(address: space.start, bytes: space.range))
        case .prefetch, .createSparse, .removeSparse: break
        }
    }

    /// Takes note of a buffer that was brought back.
    ///
    /// - Parameter bounds: Ranges in which all its mappings lie by the time of execution.
    /// - Throws: ENOSPC for page tables.
    mutating func rebind(
        _ buffer: BufferObject, _ frames: BufferFrames, within bounds: [VirtualRange]
    ) throws(DeviceError) {
        // Where there is nothing, or what is there already: spans are shared.
        for range in AddressRanges(bounds).list {
            try reserve(demand.addMap(address: range.address, range: range.bytes))
        }
        steps.append(.rebind(buffer, frames))
        ranges += bounds
    }

    private mutating func reserve(_ needed: Int) throws(DeviceError) {
        guard tables.count + needed <= tableQuota else {
            throw .quota(.tablePages, limit: UInt64(max(0, tableQuota)))
        }
        try take(needed)
    }

    private mutating func take(_ needed: Int) throws(DeviceError) {
        do throws(PageTableError) {
            tables.absorb(try tables.pool.reserve(needed))
        } catch {
            throw .pageTables(error)
        }
    }

    // MARK: execution, on the signalling path

    /// Carries out one step; the tree's lock of class `vmOperation` is held.
    ///
    /// - Parameter invalidate: Called with what changed in the page table, before any table that it
    ///   lost is used again.
    mutating func execute(
        _ index: Int, on table: any PageTableWriting, _ invalidate: (VirtualRange) -> Void
    ) {
        let carried = GPUVAFlags.mappingKind
        var retired = RetiredTables()
        switch steps[index] {
        // Entries and TLBs before the tree: with its last mapping a pair may be cleaned up by anybody,
        // and the buffer's frames have other owners then.
        case .map(let request, let pair, let run, let isEvicted):
            if isEvicted {
                table.unmap(
                    request.address, range: request.range, using: &tables, retiring: &retired)
            } else {
                extents.withUnsafeBufferPointer {
                    table.map(
                        request.address, extents: UnsafeBufferPointer(rebasing: $0[run]),
                        flags: request.flags.pteFlags, kind: request.flags.pteKind,
                        using: &tables, retiring: &retired)
                }
            }
            invalidate(VirtualRange(address: request.address, bytes: request.range))
            space.executeMap(request, pair: pair, carrying: carried, using: &mappings) { _ in }
        case .mapNull(let request):
            table.mapNull(
                request.address, range: request.range, flags: request.flags.pteFlags,
                using: &tables, retiring: &retired)
            invalidate(VirtualRange(address: request.address, bytes: request.range))
            space.executeMap(request, pair: nil, carrying: carried, using: &mappings) { _ in }
        case .unmap(let range):
            table.unmap(
                range.address, range: range.bytes, using: &tables, retiring: &retired)
            invalidate(range)
            space.executeUnmap(
                address: range.address, range: range.bytes, carrying: carried, using: &mappings
            ) { _ in }
        case .unmapBuffer(let buffer):
            space.executeUnmapObject(buffer, using: &mappings) { op in
                guard case .unmap(let unmap) = op else { return }
                table.unmap(unmap.va.address, range: unmap.va.range, retiring: &retired)
                invalidate(VirtualRange(address: unmap.va.address, bytes: unmap.va.range))
            }
        case .rebind(let buffer, let frames):
            // MMUs cache no missing entries; those that are there already stay as they are.
            space.forEachMapping(of: buffer) { va in
                rebind(va, frames, on: table, &retired)
                if !retired.isEmpty {
                    invalidate(VirtualRange(address: va.address, bytes: va.range))
                }
            }
        }
        tables.pool.release(&retired)
    }

    /// Piece by piece: a list of the mapping's extents would have to be allocated.
    private mutating func rebind(
        _ va: GPUVA, _ frames: BufferFrames, on table: any PageTableWriting,
        _ retired: inout RetiredTables
    ) {
        let flags = va.flags.pteFlags
        let kind = va.flags.pteKind
        var address = va.address
        frames.forEachExtent(offset: va.offset, length: va.range) { extent in
            withUnsafePointer(to: extent) {
                table.map(
                    address, extents: UnsafeBufferPointer(start: $0, count: 1), flags: flags,
                    kind: kind, using: &tables, retiring: &retired)
            }
            address += extent.bytes
        }
    }

    // MARK: the end

    /// Promises what is left of the reservations to others.
    mutating func returnReservations() {
        tables = tables.pool.emptyReservation()
        mappings.giveBack()
    }

    /// Lets go of everything; not on the signalling path. Buffers may lose their last reference.
    mutating func forget() {
        for pair in pairs { space.put(pair) }
        space.cleanUpDeferred()
        pairs = []
        steps = []
        extents = []
        ranges = []
    }
}
