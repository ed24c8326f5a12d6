import Device
import Glibc

// Sparse regions, at addresses that no job uses: what is asked for there is accepted or refused, and
// whatever happens to the buffers mapped there, the rest of the model is not touched.
extension VMContext {
    private static let sparseBase: UInt64 = 0x8000_0000
    private static let sparsePages = 32

    /// A request about the region: made, filled, emptied, removed, or misused.
    func sparseRegion() {
        guard !flags.contains(.immediateMode) else { return refuseSparse(.createSparse) }
        switch random.below(8) {
        case 0, 1:
            guard !hasSparseRegion else { return refuseSparse(.createSparse) }
            // Made around what may lie there already.
            let map = hasSparseRegion ? nil : mapInside()
            bind([map, region(.createSparse)].compactMap(\.self)) { hasSparseRegion = true }
        case 2:
            guard hasSparseRegion else { return refuseSparse(.removeSparse) }
            bind([region(.removeSparse)]) { hasSparseRegion = false }
        case 3: unmapInside()
        case 4:
            guard hasSparseRegion else { return unmapInside() }
            // A part of it is no region.
            refuseSparse(.removeSparse, pages: 1..<Self.sparsePages)
        default:
            if let map = mapInside() { bind([map]) {} }
        }
    }

    private func unmapInside() {
        let first = random.below(Self.sparsePages)
        // Beyond the region's end too.
        let count = 1 + random.below(Self.sparsePages)
        bind([operation(.unmap, pages: first..<(first + count))]) {}
    }

    private func mapInside() -> BindOperation? {
        // In system memory: what a job must find resident is what the model knows of.
        guard let buffer = buffers.filter({ !$0.isVRAM }).randomElement(using: &random),
            let handle = buffer.handle, let object = try? client.buffer(handle)
        else { return nil }
        let first = random.below(Self.sparsePages - buffer.pages)
        var map = operation(.map, pages: first..<(first + buffer.pages))
        map.buffer = object
        return map
    }

    private func region(_ kind: BindOperation.Kind) -> BindOperation {
        operation(kind, pages: 0..<Self.sparsePages)
    }

    private func operation(_ kind: BindOperation.Kind, pages: Range<Int>) -> BindOperation {
        BindOperation(
            kind, address: Self.sparseBase + UInt64(pages.lowerBound) * Self.pageBytes,
            range: UInt64(pages.count) * Self.pageBytes)
    }

    /// A request that must be refused, alone or behind one that is right: nothing of it happens.
    private func refuseSparse(
        _ kind: BindOperation.Kind, pages: Range<Int> = 0..<VMContext.sparsePages
    ) {
        do throws(DeviceError) {
            _ = try client.bind(
                vm: vm,
                operations: (random.chance(2) ? [mapInside()].compactMap(\.self) : [])
                    + [operation(kind, pages: pages)])
            run.fail("a wrong request about a sparse region was carried out")
        } catch {
            let others = [ENODEV, ECANCELED, ENOSPC, ENOMEM, DeviceWorld.injectedErrno]
            let mayBe = world.isStopped || world.isStarved || world.injects || isDead
            run.require(
                [EINVAL, ENOENT, ENOSPC, EEXIST].contains(error.errno)
                    || (mayBe && others.contains(error.errno)),
                "a wrong request about a sparse region: \(error)")
        }
        run.count("refused")
    }
}
