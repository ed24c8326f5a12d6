import Fencing
import GPUVMCore
import TestSupport
import Testing

/// The fence-signalling path of immediate mode allocates nothing: counted, not promised.
///
/// Each scenario runs twice, and the second run counts: Swift's runtime makes what it needs of a type
/// at the type's first use.
@Suite struct ImmediateAllocationTests {
    @Test(arguments: [false, true], [91, 92] as [UInt64])
    func executionAllocatesNothing(isProtected: Bool, seed: UInt64) throws {
        _ = try execute(isProtected: isProtected, seed: seed)
        let allocations = try execute(isProtected: isProtected, seed: seed)
        if let allocations { #expect(allocations == 0, "seed \(seed)") }
    }

    private func execute(isProtected: Bool, seed: UInt64) throws -> UInt64? {
        let vm = try ImmediateVM(
            isProtected ? [.immediateMode, .reservationProtected] : .immediateMode,
            capacity: 1 << 16)
        defer { vm.space.close() }
        var random = SplitMix64(seed: seed)
        let objects = (0..<40).map { index in
            index % 2 == 0 ? GPUVMObject(reservation: vm.space.reservation) : GPUVMObject()
        }
        var requests: [MapRequest] = []
        var pairs: [GPUVMBO.ID?] = []
        for _ in 0..<3000 {
            let object = Int(random.next() % 41)
            requests.append(
                MapRequest(
                    address: (random.next() % 4000) << 12, range: (1 + random.next() % 40) << 12,
                    object: object == 40 ? nil : objects[object],
                    offset: (random.next() % 64) << 12))
            pairs.append(try requests.last?.object.map { try vm.space.obtain($0) })
        }
        var reservation = try vm.space.reserveImmediate(maps: 3000, unmaps: 3000)
        var counts = (ops: 0, remaps: 0)
        let allocations = allocationsWhileSignalling {
            vm.execute {
                for index in requests.indices {
                    vm.space.executeMap(
                        requests[index], pair: pairs[index], using: &reservation
                    ) { op in
                        counts.ops += 1
                        if case .remap = op { counts.remaps += 1 }
                    }
                    if index % 3 == 0 {
                        vm.space.executeUnmap(
                            address: requests[index].address &+ 1 << 12, range: 2 << 12,
                            using: &reservation
                        ) { _ in counts.ops += 1 }
                    }
                    // The last reference of a pair goes here, and a zombie comes of it.
                    if let pair = pairs[index] { vm.space.put(pair) }
                    if index % 100 == 99 {
                        vm.space.executeUnmapObject(
                            objects[index % 40], using: &reservation
                        ) { _ in counts.ops += 1 }
                    }
                }
                reservation.giveBack()
            }
        }
        #expect(counts.ops > 6000 && counts.remaps > 1000)
        return allocations
    }

    /// More new pairs than the index has buckets at first: it grows on the way.
    @Test func preallocatedPairsAllocateNothing() throws {
        _ = try obtainPreallocated()
        if let allocations = try obtainPreallocated() { #expect(allocations == 0) }
    }

    private func obtainPreallocated() throws -> UInt64? {
        let vm = try ImmediateVM()
        defer { vm.space.close() }
        let objects = (0..<300).map { _ in GPUVMObject() }
        var total: UInt64?
        for (page, object) in objects.enumerated() {
            // The second time the pair is there, and what was preallocated is given back.
            for _ in 0..<2 {
                var preallocated: PreallocatedVMBO? = try vm.space.preallocate(object)
                var reservation = try vm.space.reserveImmediate(maps: 1, unmaps: 0)
                let request = MapRequest(
                    address: UInt64(page) << 12, range: 1 << 12, object: object, offset: 0)
                let allocations = allocationsWhileSignalling {
                    vm.execute {
                        guard let mine = preallocated.take() else { return }
                        let pair = vm.space.obtain(mine)
                        vm.space.executeMap(request, pair: pair, using: &reservation) { _ in }
                        vm.space.put(pair)
                    }
                }
                if let allocations { total = (total ?? 0) + allocations }
            }
        }
        #expect(vm.space.vmBO(of: objects[299])?.referenceCount == 1)
        #expect(vm.space.objectCount == 300)
        return total
    }
}
