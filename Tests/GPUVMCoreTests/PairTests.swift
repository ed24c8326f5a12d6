import Fencing
import GPUVMCore
import TestSupport
import Testing

/// The unique pairs of a VM and an object: found, counted, and gone with their last reference.
@Suite struct PairTests {
    /// Says when its last hard reference goes.
    final class Tracked: GPUVMObject, @unchecked Sendable {
        let ended = LockedValue(0)
        override func lastHardReferenceDropped() { ended.set(ended.get() + 1) }
    }

    private func makeVM(_ flags: GPUVMFlags, objects: Int = 64) throws -> GPUVM {
        try GPUVM(flags: flags, start: 0, range: 1 << 30, capacity: 4096, objectCapacity: objects)
    }

    private func map(_ vm: GPUVM, _ page: UInt64, _ object: GPUVMObject) throws {
        try vm.insert(MapRequest(address: page << 12, range: 1 << 12, object: object, offset: 0))
    }

    private func unmap(_ vm: GPUVM, _ object: GPUVMObject) throws {
        var ops = OpList()
        try vm.planUnmapObject(object, into: &ops)
        try vm.apply(&ops)
    }

    @Test(arguments: TransactionTests.modes)
    func onePairForEachObject(flags: GPUVMFlags) throws {
        let vm = try makeVM(flags)
        defer { vm.close() }
        let object = Tracked()
        #expect(vm.vmBO(of: object) == nil)
        let first = try vm.obtain(object)
        let second = try vm.obtain(object)
        #expect(first == second)
        #expect(vm.vmBO(of: object)?.id == first)
        #expect(vm.vmBO(of: object)?.referenceCount == 2)
        #expect(vm.object(of: first) === object)
        #expect(object.hardReferenceCount == 2 && vm.objectCount == 1)
        #expect(vm.externalObjects.count == 1)
        try map(vm, 1, object)
        #expect(vm.vmBO(of: object)?.referenceCount == 3)
        vm.put(first)
        try unmap(vm, object)
        // An obtained pair lives without mappings.
        #expect(vm.vmBO(of: object)?.referenceCount == 1)
        #expect(vm.vmBO(of: object)?.linkedCount == 0)
        vm.put(second)
        #expect(vm.vmBO(of: object) == nil)
        vm.cleanUpDeferred()
        #expect(object.hardReferenceCount == 1 && vm.objectCount == 0)
        #expect(vm.externalObjects.isEmpty && vm.evictedObjects.isEmpty && object.vms.isEmpty)
        #expect(vm.referenceCount == 1)
        object.releaseHardReference()
        #expect(object.ended.get() == 1)
        #expect(!object.tryAcquireHardReference())
    }

    @Test(arguments: TransactionTests.modes)
    func preallocatedPairs(flags: GPUVMFlags) throws {
        let vm = try makeVM(flags, objects: 3)
        defer { vm.close() }
        let object = GPUVMObject()
        do {
            let unused = try vm.preallocate(object)
            #expect(vm.vmBO(of: object) == nil && vm.objectCount == 1)
            #expect(object.vms.isEmpty && object.hardReferenceCount == 2)
            _ = consume unused
        }
        #expect(vm.objectCount == 0 && object.hardReferenceCount == 1)
        let created = vm.obtain(try vm.preallocate(object))
        #expect(vm.vmBO(of: object)?.id == created && vm.externalObjects.count == 1)
        let found = vm.obtain(try vm.preallocate(object))
        #expect(found == created && vm.objectCount == 1)
        #expect(vm.vmBO(of: object)?.referenceCount == 2 && object.hardReferenceCount == 2)
        let second = try vm.preallocate(object)
        let third = try vm.preallocate(object)
        #expect(throws: GPUVMError.outOfMemory(needed: 1)) {
            _ = try vm.obtain(GPUVMObject())
        }
        // There is a pair already, which needs no room.
        #expect(try vm.obtain(object) == created)
        _ = vm.obtain(second)
        _ = vm.obtain(third)
        for _ in 0..<5 { vm.put(created) }
        vm.cleanUpDeferred()
        #expect(vm.objectCount == 0 && object.hardReferenceCount == 1)
    }

    @Test(arguments: TransactionTests.modes)
    func aPairOutlivesItsClosedVM(flags: GPUVMFlags) throws {
        weak var weakVM: GPUVM?
        let object = Tracked()
        do {
            let vm = try makeVM(flags)
            weakVM = vm
            let pair = try vm.obtain(object)
            let preallocated = try vm.preallocate(object)
            try map(vm, 1, object)
            object.releaseHardReference()
            vm.close()
            #expect(vm.isClosed && object.vms.isEmpty && vm.vmBO(of: object) == nil)
            // The pair holds its object and its VM, and is on no list.
            #expect(object.hardReferenceCount == 2 && vm.referenceCount == 2)
            #expect(vm.externalObjects.isEmpty)
            #expect(vm.object(of: pair) === object)
            _ = consume preallocated
            vm.put(pair)
            #expect(object.ended.get() == 1 && vm.referenceCount == 0)
        }
        #expect(weakVM == nil)
    }

    @Test func zombiesKeepTheirObjectUntilTheCleanUp() throws {
        let vm = try makeVM(.immediateMode)
        defer { vm.close() }
        let object = Tracked()
        try map(vm, 1, object)
        object.releaseHardReference()
        try unmap(vm, object)
        #expect(object.ended.get() == 0 && vm.objectCount == 1 && object.vms.isEmpty)
        // The pair is another one now; the zombie is nobody's.
        #expect(object.tryAcquireHardReference())
        try map(vm, 2, object)
        #expect(vm.objectCount == 2)
        vm.cleanUpDeferred()
        #expect(vm.objectCount == 1 && object.hardReferenceCount == 2)
        #expect(vm.vmBO(of: object)?.linkedCount == 1)
    }

    /// One object in many VMs and many objects in one VM, against dictionaries.
    @Test(arguments: TransactionTests.modes, [61, 62] as [UInt64])
    func randomPairs(flags: GPUVMFlags, seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let vms = try (0..<12).map { _ in try makeVM(flags, objects: 1 << 12) }
        defer { for vm in vms { vm.close() } }
        let objects = (0..<300).map { _ in GPUVMObject() }
        var expected = [[Int: [GPUVMBO.ID]]](repeating: [:], count: vms.count)
        for step in 0..<6000 {
            let vm = Int(random.next() % UInt64(vms.count))
            let object = Int(random.next() % UInt64(objects.count))
            // The population grows, then shrinks.
            if random.next() % 8 < (step < 3000 ? 6 : 2) {
                let pair = try vms[vm].obtain(objects[object])
                #expect(expected[vm][object]?.contains(pair) != false, "seed \(seed) \(step)")
                expected[vm][object, default: []].append(pair)
            } else if let pair = expected[vm][object]?.popLast() {
                vms[vm].put(pair)
                if expected[vm][object]?.isEmpty == true { expected[vm][object] = nil }
            }
            if step % 64 == 0 { vms[vm].cleanUpDeferred() }
            let found = vms[vm].vmBO(of: objects[object])
            try #require(
                found?.referenceCount == expected[vm][object]?.count, "seed \(seed) step \(step)")
        }
        for (vm, pairs) in zip(vms, expected) {
            vm.cleanUpDeferred()
            #expect(vm.objectCount == pairs.count)
            #expect(vm.externalObjects.count == pairs.count)
        }
        for (index, object) in objects.enumerated() {
            let holders = vms.indices.filter { expected[$0][index] != nil }
            #expect(object.hardReferenceCount == 1 + holders.count)
            #expect(Set(object.vms.map(ObjectIdentifier.init)).count == holders.count)
            for holder in holders {
                for pair in expected[holder][index] ?? [] { vms[holder].put(pair) }
            }
        }
        for vm in vms {
            vm.cleanUpDeferred()
            #expect(vm.objectCount == 0)
        }
    }
}
