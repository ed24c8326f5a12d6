import Fencing
import GPUVMCore
import TestSupport
import Testing

/// Lists that change while they are walked: an entry may lose everything but the walk's reference.
@Suite struct WalkTests {
    static let modes: [GPUVMFlags] = [.immediateMode, [.immediateMode, .weakReferences]]

    private func evict(_ object: GPUVMObject) {
        let context = object.reservation.lock()
        object.setEvicted(true)
        object.reservation.unlock(context)
    }

    private func walk(
        _ vm: GPUVM, validating: Bool, _ body: (GPUVMObject) throws(GPUVMError) -> Void
    ) throws(GPUVMError) {
        if validating { try vm.validate(body) } else { try vm.forEachExternalObject(body) }
    }

    /// While the walk shows an object, a bind job unmaps it, the clean-up runs, and a new pair takes
    /// the next free slot: the object and its VM_BO stay until the body returns.
    @Test(arguments: [false, true])
    func anEntryOutlivesItsMappings(validating: Bool) throws {
        let vm = try ImmediateVM()
        defer { vm.space.close() }
        var objects = (0..<4).map { _ in PairTests.Tracked() }
        for (page, object) in objects.enumerated() {
            try vm.map(
                MapRequest(
                    address: UInt64(page) << 12, range: 1 << 12, object: object, offset: 0))
            evict(object)
            // The pair is the last holder.
            object.releaseHardReference()
        }
        let ends = objects.map(\.ended)
        var seen: [ObjectIdentifier] = []
        let expected = objects.map(ObjectIdentifier.init)
        objects = []
        var newcomers: [GPUVMObject] = []
        try walk(vm.space, validating: validating) { object throws(GPUVMError) in
            seen.append(ObjectIdentifier(object))
            let newcomer = GPUVMObject(reservation: vm.space.reservation)
            newcomers.append(newcomer)
            do {
                try vm.unmap(object)
                vm.space.cleanUpDeferred()
                try vm.map(
                    MapRequest(
                        address: UInt64(64 + seen.count) << 12, range: 1 << 12, object: newcomer,
                        offset: 0))
            } catch {
                throw .validationFailed(errno: 5)
            }
            #expect(object.hardReferenceCount == 1)
            #expect(ends[seen.count - 1].get() == 0, "the object ended under the walk")
            #expect(vm.space.vmBO(of: object)?.referenceCount == 1)
            #expect(vm.space.vmBO(of: newcomer)?.referenceCount == 1)
        }
        #expect(seen == expected)
        vm.space.cleanUpDeferred()
        #expect(ends.allSatisfy { $0.get() == 1 })
        #expect(vm.space.externalObjects.isEmpty && vm.space.evictedObjects.isEmpty)
        #expect(vm.space.objectCount == newcomers.count)
    }

    /// An entry further down dies while the walk is at an earlier one: the walk does not come to it.
    @Test func anEntryNotReachedYetDies() throws {
        let vm = try ImmediateVM()
        defer { vm.space.close() }
        let objects = (0..<4).map { _ in GPUVMObject() }
        for (page, object) in objects.enumerated() {
            try vm.map(
                MapRequest(
                    address: UInt64(page) << 12, range: 1 << 12, object: object, offset: 0))
        }
        var seen = 0
        try vm.space.forEachExternalObject { object throws(GPUVMError) in
            seen += 1
            guard seen == 2 else { return }
            do {
                // One that was walked, and one that was not.
                try vm.unmap(objects[0])
                try vm.unmap(objects[2])
                vm.space.cleanUpDeferred()
            } catch {
                throw .validationFailed(errno: 5)
            }
        }
        #expect(seen == 3)
        let left = vm.space.externalObjects
        #expect(left.count == 2 && left[0] === objects[1] && left[1] === objects[3])
    }

    /// A submitter, an executor, an evictor, a cleaner and an exec thread at work on one VM.
    @Test(.timeLimit(.minutes(2)), arguments: modes)
    func everybodyAtOnce(flags: GPUVMFlags) throws {
        let rounds = 4000
        let vm = try ImmediateVM(flags)
        let stage = WalkStage(vm, seed: flags.contains(.weakReferences) ? 102 : 101)
        let submitter = RuntimeThread.start(name: "submit") {
            for round in 0..<rounds { stage.submit(round) }
            stage.endSubmission()
        }
        let executor = RuntimeThread.start(name: "execute") {
            while stage.executeNext() {}
            stage.isExecuted.set(true)
        }
        let others = [stage.lockAll, stage.evictOne, vm.space.cleanUpDeferred].map { work in
            RuntimeThread.start(name: "other") {
                while !stage.isExecuted.get() { work() }
            }
        }
        for thread in [submitter, executor] + others {
            #expect(thread != nil)
            thread?.join()
        }
        #expect(stage.failures.get() == [])
        vm.space.cleanUpDeferred()
        // All objects are external, and every pair is on the list once.
        #expect(vm.space.externalObjects.count == vm.space.objectCount)
        #expect(
            Set(vm.space.externalObjects.map(ObjectIdentifier.init)).count == vm.space.objectCount)
        vm.space.close()
        #expect(vm.space.referenceCount == 0)
        #expect(stage.pool.allSatisfy { $0.hardReferenceCount == 1 && $0.vms.isEmpty })
    }
}
