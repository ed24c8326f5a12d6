#if MUTANTS
    import GPUVMCore
    import Memory
    import PageTables

    // @unchecked: the VA tree is read without its lock, which is part of the defect.
    /// The defect "engineUsesBuffer": an engine that reaches a buffer through the VA tree, which is
    /// the submitted state, and not through the page tables.
    final class BufferWalker: PageWalker, @unchecked Sendable {
        unowned(unsafe) var space: GPUVM?
        let rootAddress: PhysicalAddress = 0
        let addressBits = 48

        func lookUp(_ address: UInt64) -> PageLookup {
            guard let va = space?.mapping(containing: address),
                let buffer = va.object as? BufferObject
            else { return .fault(.notMapped(level: 0)) }
            let page = address & ~(frameSize - 1)
            var extents: [PhysicalExtent] = []
            buffer.frames?.append(
                offset: va.offset + (page - va.address), length: frameSize, to: &extents)
            return .leaf(
                PageTableLeaf(
                    address: page, physical: extents[0].address, sizeShift: 12, isNull: false,
                    flags: []))
        }
    }
#endif
