import Fencing
import GPUVMCore
import Testing

@Suite struct ExecLockingTests {
    private func map(_ vm: GPUVM, _ page: UInt64, _ object: GPUVMObject) throws {
        try vm.insert(MapRequest(address: page << 12, range: 1 << 12, object: object, offset: 0))
    }

    private func evict(_ object: GPUVMObject, _ isEvicted: Bool = true) {
        let context = object.reservation.lock()
        object.setEvicted(isEvicted)
        object.reservation.unlock(context)
    }

    @Test func fencesFollowTheReservation() throws {
        let vm = try GPUVM(start: 0, range: 1 << 30, capacity: 64)
        defer { vm.close() }
        let local = GPUVMObject(reservation: vm.reservation)
        let external = GPUVMObject()
        try map(vm, 1, local)
        try map(vm, 2, external)
        var exec = ExecLocking()
        try exec.lockVM(vm, slots: 1)
        #expect(exec.lockedObjects.count == 2)
        let fence = FenceContext().makeFence()
        exec.addFence(fence, vm: vm, privateUsage: .bookkeep, externalUsage: .write)
        #expect(vm.reservation.usage(of: fence) == .bookkeep)
        #expect(external.reservation.usage(of: fence) == .write)
        exec.unlockAll()
        #expect(!vm.reservation.isLocked && !external.reservation.isLocked)
        #expect(throws: GPUVMError.alreadyLocked) {
            var exec = ExecLocking()
            try exec.lockVM(vm, extras: [local], slots: 1)
        }
        #expect(!vm.reservation.isLocked && !external.reservation.isLocked)
        fence.signal()
    }

    @Test func aFailedMapStillHoldsItsObject() throws {
        let vm = try GPUVM(start: 0, range: 1 << 30, capacity: 64)
        defer { vm.close() }
        let object = GPUVMObject()
        var ops = OpList()
        var exec = ExecLocking(ignoresDuplicates: true)
        try exec.untilAllLocked { exec throws(GPUVMError) in
            do throws(GPUVMError) {
                try exec.prepareMap(
                    MapRequest(address: 1 << 40, range: 1, object: object, offset: 0), in: vm,
                    slots: 1, planningInto: &ops)
            } catch {
                if error != .invalidRange(address: 1 << 40, range: 1) { throw error }
            }
        }
        #expect(object.reservation.isLocked)
        exec.unlockAll()
        #expect(!object.reservation.isLocked)
    }

    @Test func protectedListsWaitForTheExternalPass() throws {
        let vm = try GPUVM(flags: .reservationProtected, start: 0, range: 1 << 30, capacity: 64)
        defer { vm.close() }
        let object = GPUVMObject()
        try map(vm, 1, object)
        evict(object)
        #expect(vm.evictedObjects.isEmpty)
        var exec = ExecLocking()
        try exec.untilAllLocked { exec throws(GPUVMError) in
            try exec.prepareRange(of: vm, address: 0, range: 1 << 20, slots: 1)
        }
        exec.unlockAll()
        #expect(vm.evictedObjects.isEmpty)
        try exec.lockVM(vm, slots: 1)
        #expect(vm.evictedObjects.count == 1)
        try vm.validate { object throws(GPUVMError) in object.setEvicted(false) }
        exec.unlockAll()
        #expect(vm.evictedObjects.isEmpty)
    }

    @Test func aFailedValidationKeepsTheOrder() throws {
        let vm = try GPUVM(start: 0, range: 1 << 30, capacity: 64)
        defer { vm.close() }
        let objects = (0..<4).map { _ in GPUVMObject() }
        for (page, object) in objects.enumerated() { try map(vm, UInt64(page), object) }
        for object in objects { evict(object) }
        var exec = ExecLocking()
        try exec.lockVM(vm, slots: 1)
        var seen = 0
        #expect(throws: GPUVMError.validationFailed(errno: 12)) {
            try vm.validate { object throws(GPUVMError) in
                seen += 1
                // The first stays evicted though the callback succeeds, the third fails.
                if seen == 3 { throw .validationFailed(errno: 12) }
                if seen == 2 { object.setEvicted(false) }
            }
        }
        exec.unlockAll()
        let left = vm.evictedObjects
        #expect(left.count == 3)
        #expect(left[0] === objects[0] && left[1] === objects[2] && left[2] === objects[3])
    }

    /// Two VMs that share external objects in opposite list orders, locked from two threads while a
    /// third evicts: back-off resolves it, and nothing is lost.
    @Test(.timeLimit(.minutes(1))) func contention() throws {
        let shared = (0..<4).map { _ in GPUVMObject() }
        let vms = try (0..<2).map { _ in try GPUVM(start: 0, range: 1 << 30, capacity: 64) }
        defer { for vm in vms { vm.close() } }
        for (page, object) in shared.enumerated() { try map(vms[0], UInt64(page), object) }
        for (page, object) in shared.reversed().enumerated() {
            try map(vms[1], UInt64(page), object)
        }
        let counters = shared.map { _ in UnguardedCounter() }
        let failures = LockedValue(0)
        var threads = vms.compactMap { vm in
            RuntimeThread.start(name: "exec") {
                let context = FenceContext()
                for _ in 0..<400 {
                    var exec = ExecLocking()
                    do throws(GPUVMError) {
                        try exec.lockVM(vm, slots: 1)
                        try vm.validate { object throws(GPUVMError) in
                            object.setEvicted(false)
                        }
                    } catch {
                        failures.set(1)
                    }
                    let fence = context.makeFence()
                    exec.addFence(
                        fence, vm: vm, privateUsage: .bookkeep, externalUsage: .write)
                    for counter in counters { counter.value += 1 }
                    exec.unlockAll()
                    fence.signal()
                }
            }
        }
        let evictor = RuntimeThread.start(name: "evict") {
            for round in 0..<800 {
                let object = shared[round % 4]
                let context = object.reservation.lock()
                object.setEvicted(true)
                for vm in vms { vm.forEachMapping(of: object) { _ = $0.address } }
                object.reservation.unlock(context)
            }
        }
        if let evictor { threads.append(evictor) }
        #expect(threads.count == 3)
        for thread in threads { thread.join() }
        #expect(failures.get() == 0)
        #expect(counters.allSatisfy { $0.value == 800 })
        for vm in vms {
            var exec = ExecLocking()
            try exec.lockVM(vm, slots: 1)
            try vm.validate { object throws(GPUVMError) in object.setEvicted(false) }
            exec.unlockAll()
            #expect(vm.evictedObjects.isEmpty)
            #expect(vm.externalObjects.count == 4)
        }
    }
}
