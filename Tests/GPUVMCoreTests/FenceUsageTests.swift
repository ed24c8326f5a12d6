import Fencing
import GPUVMCore
import Testing

/// Which usage a submission's fence gets: reservation identity decides, nothing else.
@Suite struct FenceUsageTests {
    /// Locks the objects in that order, with a slot each, and adds one fence.
    private func usages(
        of objects: [GPUVMObject], in vm: GPUVM, looking reservations: [Reservation]
    ) throws -> [FenceUsage?] {
        var exec = ExecLocking(ignoresDuplicates: true)
        try exec.untilAllLocked { exec throws(GPUVMError) in
            try exec.prepare(objects, slots: 1)
        }
        let fence = FenceContext().makeFence()
        exec.addFence(fence, vm: vm, privateUsage: .bookkeep, externalUsage: .write)
        exec.unlockAll()
        let result = reservations.map { $0.usage(of: fence) }
        fence.signal()
        return result
    }

    @Test func privateAndExternalInBothOrders() throws {
        let vm = try makeVM()
        defer { vm.close() }
        let local = GPUVMObject(reservation: vm.reservation)
        let external = GPUVMObject()
        let reservations = [vm.reservation, external.reservation]
        for objects in [
            [vm.reservationObject, local, external], [external, local],
            [local, external, vm.reservationObject],
        ] {
            #expect(
                try usages(of: objects, in: vm, looking: reservations) == [.bookkeep, .write])
        }
        #expect(try usages(of: [local], in: vm, looking: reservations) == [.bookkeep, nil])
        #expect(try usages(of: [external], in: vm, looking: reservations) == [nil, .write])
    }

    /// Membership of the external list does not matter: the object is mapped nowhere.
    @Test func theListDoesNotDecide() throws {
        let vm = try makeVM()
        defer { vm.close() }
        let external = GPUVMObject()
        #expect(vm.externalObjects.isEmpty)
        #expect(
            try usages(of: [external], in: vm, looking: [external.reservation]) == [.write])
    }

    @Test func externalHereAndPrivateThere() throws {
        let home = try makeVM()
        let guest = try makeVM()
        defer {
            home.close()
            guest.close()
        }
        let object = GPUVMObject(reservation: home.reservation)
        try map(home, page: 1, object)
        try map(guest, page: 1, object)
        #expect(home.externalObjects.isEmpty)
        #expect(guest.externalObjects.map(ObjectIdentifier.init) == [ObjectIdentifier(object)])
        let reservations = [home.reservation, guest.reservation]
        for (vm, expected): (GPUVM, [FenceUsage?]) in [
            (home, [.bookkeep, nil]), (guest, [.write, .bookkeep]),
        ] {
            var exec = ExecLocking()
            try exec.lockVM(vm, slots: 1)
            let fence = FenceContext().makeFence()
            exec.addFence(fence, vm: vm, privateUsage: .bookkeep, externalUsage: .write)
            exec.unlockAll()
            #expect(reservations.map { $0.usage(of: fence) } == expected)
            fence.signal()
        }
    }

    /// What was locked without slots, and victims, do not get the fence.
    @Test func slotsDecideWhoGetsIt() throws {
        let vm = try makeVM()
        defer { vm.close() }
        let (prepared, locked, victim) = (GPUVMObject(), GPUVMObject(), GPUVMObject())
        var exec = ExecLocking(ignoresDuplicates: true)
        try exec.untilAllLocked { exec throws(GPUVMError) in
            try exec.prepare(prepared, slots: 1)
            try exec.lock(locked)
            check(try exec.lockVictim(victim, waiting: false))
        }
        // The eviction's slot is not the work's.
        try victim.reservation.reserve(1)
        let fence = FenceContext().makeFence()
        exec.addFence(fence, vm: vm, privateUsage: .bookkeep, externalUsage: .write)
        #expect(prepared.reservation.usage(of: fence) == .write)
        #expect(locked.reservation.usage(of: fence) == nil)
        #expect(victim.reservation.usage(of: fence) == nil)
        exec.unlockAll()
        fence.signal()
    }
}
