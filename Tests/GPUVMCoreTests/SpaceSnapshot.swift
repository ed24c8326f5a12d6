import GPUVMCore

/// Everything of a VM that the outside can tell: what a rollback must bring back.
struct SpaceSnapshot: Equatable {
    struct Mapping: Equatable {
        var address: UInt64
        var range: UInt64
        var offset: UInt64
        var object: Int
        var flags: UInt32
        var id: UInt32
    }

    struct Pair: Equatable {
        var hardReferences: Int
        var references: Int
        var linked: Int
        var isEvicted: Bool
        var linkOrder: [UInt64]
    }

    var mappings: [Mapping] = []
    var pairs: [Pair] = []
    var external: [Int] = []
    var evicted: [Int] = []
    var referenceCount: Int
    var mappingCount: Int

    init(_ vm: GPUVM, _ objects: [GPUVMObject]) {
        func index(_ object: GPUVMObject?) -> Int {
            object.flatMap { object in objects.firstIndex { $0 === object } } ?? -1
        }
        referenceCount = vm.referenceCount
        mappingCount = vm.mappingCount
        vm.forEachVA { va in
            mappings.append(
                Mapping(
                    address: va.address, range: va.range, offset: va.offset,
                    object: index(va.object), flags: va.flags.rawValue, id: va.id))
            return true
        }
        for object in objects {
            let pair = vm.vmBO(of: object)
            var order: [UInt64] = []
            vm.forEachMapping(of: object) { order.append($0.address) }
            pairs.append(
                Pair(
                    hardReferences: object.hardReferenceCount,
                    references: pair?.referenceCount ?? 0, linked: pair?.linkedCount ?? 0,
                    isEvicted: pair?.isEvicted ?? false, linkOrder: order))
        }
        external = vm.externalObjects.map(index)
        evicted = vm.evictedObjects.map(index)
    }
}
