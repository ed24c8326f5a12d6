import Fencing
import GPUVMCore
import TestSupport
import Testing

/// What eviction does to a VM without the VM's lock, and what the end of a VM leaves to it.
@Suite struct EvictionTests {
    private func map(
        _ vm: GPUVM, _ page: UInt64, _ object: GPUVMObject?, pages: UInt64 = 1
    ) throws {
        try vm.insert(
            MapRequest(address: page << 12, range: pages << 12, object: object, offset: 0))
    }

    @Test(arguments: TransactionTests.modes)
    func aMarkBelongsToOneVM(flags: GPUVMFlags) throws {
        let object = GPUVMObject()
        let vms = try (0..<2).map { _ in
            try GPUVM(flags: flags, start: 0, range: 1 << 30, capacity: 64)
        }
        defer { for vm in vms { vm.close() } }
        let context = object.reservation.lock()
        // Nothing maps it: there is nothing to mark.
        vms[0].setEvicted(true, object: object)
        object.reservation.unlock(context)
        for vm in vms { try map(vm, 1, object) }
        let again = object.reservation.lock()
        vms[1].setEvicted(true, object: object)
        #expect(!vms[0].isEvicted(object) && vms[1].isEvicted(object))
        vms[1].setEvicted(false, object: object)
        #expect(!vms[1].isEvicted(object) && vms[1].evictedObjects.isEmpty)
        object.setEvicted(true)
        #expect(vms[0].isEvicted(object) && vms[1].isEvicted(object))
        object.reservation.unlock(again)
    }

    @Test func theDriverFindsItsOwn() throws {
        final class Driver {}
        let driver = Driver()
        let vm = try GPUVM(start: 0, range: 1 << 30, capacity: 64, driverData: driver)
        defer { vm.close() }
        let object = GPUVMObject()
        try map(vm, 1, object)
        #expect(object.vms.first?.driverData === driver)
    }

    /// A VM with 100,000 mappings ends in time that does not depend on them but for the tree.
    @Test(arguments: TransactionTests.modes)
    func aLargeVMCloses(flags: GPUVMFlags) throws {
        let count: UInt64 = 100_000
        let vm = try GPUVM(flags: flags, start: 0, range: 1 << 40, capacity: 1 << 17)
        let objects = (0..<50).map { index in
            index % 2 == 0 ? GPUVMObject() : GPUVMObject(reservation: vm.reservation)
        }
        for page in 0..<count { try map(vm, page, objects[Int(page % 50)]) }
        #expect(objects[7].hardReferenceCount == 2)
        vm.close()
        #expect(objects.allSatisfy { $0.hardReferenceCount == 1 && $0.vms.isEmpty })
        #expect(vm.referenceCount == 0 && vm.mappingCount == 0)
    }

    /// One thread evicts, walking pairs and mappings under the objects' reservations alone, while
    /// the VMs of another thread are filled and closed.
    @Test(.timeLimit(.minutes(1))) func evictionWhileVMsClose() throws {
        let shared = (0..<6).map { _ in GPUVMObject() }
        let failures = LockedValue(0)
        let done = LockedValue(false)
        let evictor = RuntimeThread.start(name: "evict") {
            var round = 0
            while !done.get() {
                let object = shared[round % shared.count]
                let context = object.reservation.lock()
                object.setEvicted(round % 3 != 0)
                for vm in object.vms {
                    var pages = 0
                    vm.forEachMapping(of: object) { va in
                        if va.object !== object || va.range != 1 << 12 { failures.set(1) }
                        pages += 1
                    }
                    if pages > 0 && vm.isEvicted(object) != (round % 3 != 0) { failures.set(2) }
                    vm.setEvicted(false, object: object)
                }
                object.reservation.unlock(context)
                round += 1
            }
        }
        #expect(evictor != nil)
        var random = SplitMix64(seed: 71)
        for round in 0..<60 {
            let vm = try GPUVM(
                flags: round % 2 == 0 ? [] : .reservationProtected, start: 0, range: 1 << 30,
                capacity: 1024)
            let local = GPUVMObject(reservation: vm.reservation)
            for page in 0..<40 as Range<UInt64> {
                let object = page % 5 == 0 ? local : shared[Int(random.next() % 6)]
                // Mappings change under the object's reservation.
                let context = object.reservation.lock()
                try map(vm, page, object)
                object.reservation.unlock(context)
            }
            vm.close()
            #expect(vm.referenceCount == 0 && local.hardReferenceCount == 1)
        }
        done.set(true)
        evictor?.join()
        #expect(failures.get() == 0)
        #expect(shared.allSatisfy { $0.hardReferenceCount == 1 && $0.vms.isEmpty })
    }
}
