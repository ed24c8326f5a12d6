import Fencing
import GPUVMCore
import Testing

/// VMs that do not keep what they map.
@Suite struct WeakReferenceTests {
    static let modes: [GPUVMFlags] = TransactionTests.modes.map { $0.union(.weakReferences) }

    private func makeVM(_ flags: GPUVMFlags) throws -> GPUVM {
        try GPUVM(flags: flags, start: 0, range: 1 << 30, capacity: 256)
    }

    private func map(_ vm: GPUVM, _ page: UInt64, _ object: GPUVMObject) throws {
        try vm.insert(MapRequest(address: page << 12, range: 1 << 12, object: object, offset: 0))
    }

    private func evict(_ object: GPUVMObject) {
        let context = object.reservation.lock()
        object.setEvicted(true)
        object.reservation.unlock(context)
    }

    @Test(arguments: modes)
    func theLastHardHolderDecides(flags: GPUVMFlags) throws {
        let vm = try makeVM(flags)
        defer { vm.close() }
        let hard = try makeVM([])
        let object = PairTests.Tracked()
        try map(vm, 1, object)
        try map(vm, 2, object)
        #expect(object.hardReferenceCount == 1 && vm.vmBO(of: object)?.referenceCount == 2)
        try map(hard, 1, object)
        #expect(object.hardReferenceCount == 2)
        object.releaseHardReference()
        #expect(object.ended.get() == 0)
        hard.close()
        #expect(object.ended.get() == 1 && object.hardReferenceCount == 0)
        // Whoever ends the object still reaches its mappings, and only that can take them away.
        #expect(object.vms.count == 1 && object.vms.first === vm)
        var pages: [UInt64] = []
        vm.forEachMapping(of: object) { pages.append($0.address >> 12) }
        #expect(pages == [1, 2])
        var ops = OpList()
        vm.begin()
        try vm.planUnmapObject(object, into: &ops)
        try vm.apply(&ops)
        vm.commit()
        vm.cleanUpDeferred()
        var released: [GPUVMObject] = []
        vm.takeReleased(into: &released)
        #expect(released.count == 1 && vm.mappingCount == 0 && vm.objectCount == 0)
        #expect(object.ended.get() == 1)
    }

    /// No submission sees what has ended: the walks pass it over, and a walk keeps what it shows.
    @Test(arguments: modes)
    func walksPassOverTheDead(flags: GPUVMFlags) throws {
        let vm = try makeVM(flags)
        defer { vm.close() }
        let objects = (0..<3).map { _ in PairTests.Tracked() }
        for (page, object) in objects.enumerated() { try map(vm, UInt64(page), object) }
        for object in objects { evict(object) }
        objects[1].releaseHardReference()
        var exec = ExecLocking(ignoresDuplicates: true)
        try exec.prepareVM(vm, slots: 1)
        var seen: [ObjectIdentifier] = []
        try vm.forEachExternalObject { object throws(GPUVMError) in
            seen.append(ObjectIdentifier(object))
            #expect(object.hardReferenceCount == 2)
        }
        let alive = [ObjectIdentifier(objects[0]), ObjectIdentifier(objects[2])]
        #expect(seen == alive)
        seen = []
        try exec.prepare([objects[0], objects[2]], slots: 1)
        try vm.validate { object throws(GPUVMError) in
            seen.append(ObjectIdentifier(object))
            // Its creator lets go: it ends when the walk goes on.
            (object as? PairTests.Tracked)?.releaseHardReference()
            #expect((object as? PairTests.Tracked)?.ended.get() == 0)
            object.setEvicted(false)
        }
        #expect(seen == alive)
        // Exec locking holds what it locked in a weak VM.
        exec.unlockAll()
        #expect(objects.allSatisfy { $0.ended.get() == 1 && $0.hardReferenceCount == 0 })
        // The order of the lists is what it was.
        #expect(vm.externalObjects.map(ObjectIdentifier.init) == objects.map(ObjectIdentifier.init))
    }

    @Test(arguments: modes)
    func closeTouchesNoHardReference(flags: GPUVMFlags) throws {
        let object = PairTests.Tracked()
        weak var weakVM: GPUVM?
        do {
            let vm = try makeVM(flags)
            weakVM = vm
            try map(vm, 1, object)
            object.releaseHardReference()
            #expect(object.ended.get() == 1)
            vm.close()
        }
        #expect(weakVM == nil)
        #expect(object.ended.get() == 1 && object.vms.isEmpty && object.hardReferenceCount == 0)
    }

    /// The storage lives as long as a mapping leads to it, and no longer.
    @Test(arguments: modes)
    func theStorageGoesWithTheLastMapping(flags: GPUVMFlags) throws {
        let vm = try makeVM(flags)
        defer { vm.close() }
        weak var weakObject: GPUVMObject?
        do {
            let object = GPUVMObject()
            weakObject = object
            try map(vm, 1, object)
            object.releaseHardReference()
        }
        #expect(weakObject != nil)
        try vm.remove(address: 1 << 12, range: 1 << 12)
        vm.cleanUpDeferred()
        #expect(weakObject == nil)
    }
}
