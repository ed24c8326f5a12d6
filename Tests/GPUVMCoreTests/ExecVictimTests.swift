import Fencing
import GPUVMCore
import Testing

/// Victims, the slow path, cancellation and hard references of exec locking.
@Suite(.timeLimit(.minutes(2))) struct ExecVictimTests {
    private func identifiers(_ exec: borrowing ExecLocking) -> [ObjectIdentifier] {
        var found: [ObjectIdentifier] = []
        exec.forEachLocked { found.append(ObjectIdentifier($0)) }
        return found
    }

    @Test func victimsAreLockedOnce() throws {
        let (work, victim, busy) = (GPUVMObject(), GPUVMObject(), GPUVMObject())
        let sibling = GPUVMObject(reservation: victim.reservation)
        let owner = AcquireContext()
        var exec = ExecLocking()
        try exec.untilAllLocked { exec throws(GPUVMError) in
            try exec.prepare(work, slots: 1)
            check(busy.reservation.tryLock(owner))
            check(try !exec.lockVictim(work, waiting: false))
            check(try !exec.lockVictim(work, waiting: true))
            check(try exec.lockVictim(victim, waiting: true))
            check(try !exec.lockVictim(victim, waiting: true))
            check(try !exec.lockVictim(sibling, waiting: false))
            check(try !exec.lockVictim(busy, waiting: false))
        }
        check(exec.holds(work.reservation) && exec.holds(victim.reservation))
        check(!exec.holds(busy.reservation))
        check(identifiers(exec) == [ObjectIdentifier(work)])
        check(exec.lockedObjects.count == 2)
        exec.unlockVictim(sibling)
        #expect(!victim.reservation.isLocked && work.reservation.isLocked)
        exec.unlockAll()
        #expect(!work.reservation.isLocked)
        busy.reservation.unlock(owner)
        #expect(work.hardReferenceCount == 1 && victim.hardReferenceCount == 1)
    }

    /// An older context has the victim. The attempt gives its work up, waits, and starts over; the
    /// victim that was waited for is found once.
    @Test(arguments: [false, true]) func theSlowPathWaitsForTheVictim(asSibling: Bool) throws {
        let (work, victim) = (GPUVMObject(), GPUVMObject())
        let sibling = GPUVMObject(reservation: victim.reservation)
        let older = AcquireContext()
        try victim.reservation.lock(older)
        let outcome = run { () throws(GPUVMError) -> [Int] in
            var runs = 0
            var found: [Int] = []
            var exec = ExecLocking()
            try exec.untilAllLocked { exec throws(GPUVMError) in
                runs += 1
                try exec.prepare(work, slots: 1)
                let wanted = asSibling && runs == 2 ? sibling : victim
                // A try-lock finds the one that was waited for, too.
                found.append(try exec.lockVictim(wanted, waiting: runs == 1) ? 1 : 0)
                found.append(try exec.lockVictim(victim, waiting: true) ? 1 : 0)
            }
            var locked = 0
            exec.forEachLocked { _ in locked += 1 }
            let back = exec.backOffCount
            exec.unlockVictim(victim)
            let isFree = victim.reservation.isLocked ? 0 : 1
            exec.unlockAll()
            return [runs, back] + found + [locked, isFree]
        }
        let isWaiting = eventually { !victim.reservation.contention.waiters.isEmpty }
        #expect(isWaiting)
        #expect(!work.reservation.isLocked, "a back-off gives everything up")
        victim.reservation.unlock(older)
        #expect(try outcome.wait()?.get() == [2, 1, 1, 0, 1, 1])
        #expect(eventually { !work.reservation.isLocked && !victim.reservation.isLocked })
        for object in [work, victim, sibling] { #expect(object.hardReferenceCount == 1) }
    }

    /// What the first run wanted and the second does not stays locked until the end, but is not
    /// part of the work.
    @Test func whatIsNotWantedAnyMoreStaysLocked() throws {
        let (work, other) = (GPUVMObject(), GPUVMObject())
        let older = AcquireContext()
        try other.reservation.lock(older)
        let outcome = run { () throws(GPUVMError) -> [Int] in
            var exec = ExecLocking()
            try exec.untilAllLocked { exec throws(GPUVMError) in
                try exec.prepare(work, slots: 1)
                if exec.backOffCount == 0 { try exec.prepare(other, slots: 1) }
            }
            var locked = 0
            exec.forEachLocked { _ in locked += 1 }
            let isHeld = exec.holds(other.reservation) ? 1 : 0
            exec.unlockAll()
            return [exec.backOffCount, locked, isHeld, other.reservation.isLocked ? 1 : 0]
        }
        #expect(eventually { !other.reservation.contention.waiters.isEmpty })
        other.reservation.unlock(older)
        #expect(try outcome.wait()?.get() == [1, 1, 1, 0])
    }

    @Test(arguments: [false, true]) func aCancelledAttemptKeepsNothing(inSlowPath: Bool) throws {
        let (work, wanted) = (GPUVMObject(), GPUVMObject())
        let cancellation = Cancellation()
        let context = AcquireContext()
        // The owner is older than the attempt for a back-off, else a younger one.
        if inSlowPath { try wanted.reservation.lock(context) }
        let begun = Outcome<Bool>()
        let proceed = Outcome<Bool>()
        let outcome = run { () throws(GPUVMError) -> Int in
            var exec = ExecLocking(cancellation: cancellation)
            begun.set(true)
            _ = proceed.wait()
            try exec.untilAllLocked { exec throws(GPUVMError) in
                try exec.prepare(work, slots: 1)
                try exec.prepare(wanted, slots: 1)
            }
            return 0
        }
        #expect(begun.wait() == true)
        let younger = AcquireContext()
        if !inSlowPath { try wanted.reservation.lock(younger) }
        proceed.set(true)
        #expect(eventually { !wanted.reservation.contention.waiters.isEmpty })
        #expect(work.reservation.isLocked == !inSlowPath)
        cancellation.cancel()
        let result = outcome.wait(seconds: 5)
        #expect(result == .failure(.interrupted))
        #expect(!work.reservation.isLocked)
        #expect(wanted.reservation.contention.waiters.isEmpty)
        wanted.reservation.unlock(inSlowPath ? context : younger)
        for object in [work, wanted] { #expect(object.hardReferenceCount == 1) }
        // EINTR, asm-generic/errno-base.h.
        #expect(GPUVMError.interrupted.errno == 4)
        #expect("\(GPUVMError.interrupted)" == "interrupted while waiting for a reservation")
    }

    /// An attempt after `unlockAll` is a new one: the old age would overtake who came meanwhile.
    @Test func theNextAttemptIsYounger() throws {
        let object = GPUVMObject()
        var exec = ExecLocking()
        let first = exec.stamp
        try exec.lock(object)
        exec.unlockAll()
        let between = AcquireContext()
        try exec.lock(object)
        check(first < between.stamp && between.stamp < exec.stamp)
        #expect(throws: GPUVMError.alreadyLocked) { try exec.lock(object) }
        exec.unlockAll()
        // Slots are wanted where there are none, and the object is unlocked again.
        #expect(throws: GPUVMError.noFenceSlots) { try exec.prepare(object, slots: 0) }
        #expect(!object.reservation.isLocked && object.hardReferenceCount == 2)
        exec.unlockAll()
        #expect(object.hardReferenceCount == 1)
    }

    // MARK: - Ranges

    @Test func touchedReservationsAreLockedOnce() throws {
        let vm = try makeVM()
        defer { vm.close() }
        let local = GPUVMObject(reservation: vm.reservation)
        let (a, b, outside) = (GPUVMObject(), GPUVMObject(), GPUVMObject())
        for (page, object) in [a, a, local, b, nil, a, b, outside].enumerated() {
            try map(vm, page: UInt64(page), object)
        }
        var exec = ExecLocking()
        try exec.untilAllLocked { exec throws(GPUVMError) in
            try exec.prepareVM(vm, slots: 2)
            try exec.prepare(b, slots: 1)
            try exec.prepareTouched(of: vm, address: 0, range: 7 << 12, slots: 2)
        }
        check(
            exec.lockedObjects.map(ObjectIdentifier.init)
                == [vm.reservationObject, b, a].map(ObjectIdentifier.init))
        #expect(!outside.reservation.isLocked)
        // Two contexts' fences find room everywhere, also on what had room for one only.
        let fences = (0..<2).map { _ in FenceContext().makeFence() }
        for fence in fences {
            exec.addFence(fence, vm: vm, privateUsage: .bookkeep, externalUsage: .write)
        }
        exec.unlockAll()
        for fence in fences {
            let usages = [vm.reservation, a.reservation, b.reservation].map { $0.usage(of: fence) }
            #expect(usages == [.bookkeep, .write, .write])
            fence.signal()
        }
        #expect(throws: GPUVMError.noFenceSlots) {
            try exec.untilAllLocked { exec throws(GPUVMError) in
                try exec.prepareVM(vm, slots: 0)
                try exec.prepareTouched(of: vm, address: 0, range: 1 << 12, slots: 0)
            }
        }
        #expect(!vm.reservation.isLocked && !a.reservation.isLocked)
    }

    @Test func duplicatesInARange() throws {
        let vm = try makeVM()
        defer { vm.close() }
        let object = GPUVMObject()
        for page in 0..<3 { try map(vm, page: UInt64(page), object) }
        var strict = ExecLocking()
        #expect(throws: GPUVMError.alreadyLocked) {
            try strict.untilAllLocked { exec throws(GPUVMError) in
                try exec.prepareRange(of: vm, address: 0, range: 3 << 12, slots: 1)
            }
        }
        var exec = ExecLocking(ignoresDuplicates: true)
        var ops = OpList()
        try exec.untilAllLocked { exec throws(GPUVMError) in
            try exec.prepareRange(of: vm, address: 0, range: 3 << 12, slots: 0)
            // Remaps the first, unmaps the second, remaps the third.
            try exec.prepareUnmap(
                address: 0x800, range: 2 << 12, in: vm, planningInto: &ops)
        }
        check(ops.count == 3 && exec.lockedObjects.count == 1)
        exec.unlockAll()
    }

    // MARK: - Hard references

    /// The last reference goes after all reservations, never in the middle.
    @Test func lockedObjectsStayAlive() throws {
        let vm = try makeVM(.weakReferences)
        defer { vm.close() }
        let work = GPUVMObject()
        let mapped = MortalObject(witnesses: [vm.reservation, work.reservation])
        let victim = MortalObject(witnesses: [vm.reservation, work.reservation])
        try map(vm, page: 1, mapped)
        try #require(mapped.hardReferenceCount == 1, "a weak VM keeps nothing")
        var exec = ExecLocking()
        try exec.untilAllLocked { exec throws(GPUVMError) in
            try exec.prepareVM(vm, slots: 1)
            try exec.prepareExternalObjects(of: vm, slots: 1)
            try exec.prepare(work, slots: 1)
            check(try exec.lockVictim(victim, waiting: true))
        }
        mapped.releaseHardReference()
        victim.releaseHardReference()
        exec.unlockVictim(victim)
        #expect(!victim.reservation.isLocked)
        #expect(!mapped.hasEnded && !victim.hasEnded)
        exec.unlockAll()
        #expect(mapped.hasEnded && victim.hasEnded)
        #expect(!mapped.endedUnderLock && !victim.endedUnderLock)
    }

    /// But by a bind that touches their mappings: evictions of them wait for it.
    @Test func deadObjectsArePassedOver() throws {
        let vm = try makeVM(.weakReferences)
        defer { vm.close() }
        let (dead, alive) = (GPUVMObject(), GPUVMObject())
        try map(vm, page: 1, dead)
        try map(vm, page: 2, alive)
        try map(vm, page: 3, dead)
        dead.releaseHardReference()
        try #require(dead.hardReferenceCount == 0)
        var ops = OpList()
        var exec = ExecLocking(ignoresDuplicates: true)
        for form in 0..<3 {
            try exec.untilAllLocked { exec throws(GPUVMError) in
                try exec.prepareVM(vm, slots: 1)
                switch form {
                case 0: try exec.prepareExternalObjects(of: vm, slots: 1)
                case 1: try exec.prepareRange(of: vm, address: 0, range: 1 << 20, slots: 1)
                default: try exec.prepareTouched(of: vm, address: 0, range: 1 << 20, slots: 1)
                }
            }
            check(exec.holds(alive.reservation))
            check(exec.holds(dead.reservation) == (form == 2))
            check(exec.lockedObjects.count == (form == 2 ? 3 : 2))
            exec.unlockAll()
        }
        try exec.untilAllLocked { exec throws(GPUVMError) in
            try exec.prepareUnmap(address: 0, range: 1 << 20, in: vm, planningInto: &ops)
        }
        check(exec.lockedObjects.count == 1 && exec.holds(alive.reservation))
        exec.unlockAll()
        #expect(dead.hardReferenceCount == 0 && alive.hardReferenceCount == 1)
    }

    /// The object dies while its reservation is being waited for, because of a weak VM.
    @Test func whatDiesMeanwhileIsPassedOver() throws {
        let vm = try makeVM(.weakReferences)
        defer { vm.close() }
        let mapped = MortalObject()
        try map(vm, page: 1, mapped)
        let begun = Outcome<Bool>()
        let proceed = Outcome<Bool>()
        let outcome = run { () throws(GPUVMError) -> [Int] in
            var exec = ExecLocking()
            begun.set(true)
            _ = proceed.wait()
            try exec.untilAllLocked { exec throws(GPUVMError) in
                try exec.prepareVM(vm, slots: 1)
                try exec.prepareRange(of: vm, address: 0, range: 1 << 20, slots: 1)
            }
            let locked = exec.lockedObjects.count
            exec.unlockAll()
            return [locked, exec.backOffCount]
        }
        #expect(begun.wait() == true)
        // Younger than the attempt, which so waits with the VM's reservation in hand.
        let owner = mapped.reservation.lock()
        proceed.set(true)
        #expect(eventually { !mapped.reservation.contention.waiters.isEmpty })
        mapped.releaseHardReference()
        #expect(mapped.hasEnded)
        mapped.reservation.unlock(owner)
        #expect(try outcome.wait()?.get() == [1, 0])
        #expect(!mapped.reservation.isLocked && mapped.hardReferenceCount == 0)
    }

    /// The reference that the attempt has on what it waits for goes when it is given up.
    @Test func theContendedObjectIsKeptToo() throws {
        let (work, wanted) = (GPUVMObject(), MortalObject())
        let older = AcquireContext()
        try wanted.reservation.lock(older)
        let cancellation = Cancellation()
        let outcome = run { () throws(GPUVMError) -> Int in
            var exec = ExecLocking(cancellation: cancellation)
            try exec.untilAllLocked { exec throws(GPUVMError) in
                try exec.prepare(work, slots: 1)
                try exec.prepare(wanted, slots: 1)
            }
            return 0
        }
        #expect(eventually { !wanted.reservation.contention.waiters.isEmpty })
        wanted.releaseHardReference()
        #expect(!wanted.hasEnded && wanted.hardReferenceCount == 1)
        cancellation.cancel()
        let result = outcome.wait(seconds: 5)
        wanted.reservation.unlock(older)
        #expect(result == .failure(.interrupted))
        #expect(wanted.hasEnded)
    }
}

#if DEBUG
    @Suite struct ExecLockingMisuseTests {
        @Test func lockingAfterTheEndDies() async {
            await #expect(processExitsWith: .failure) {
                var exec = ExecLocking()
                try exec.untilAllLocked { exec throws(GPUVMError) in
                    try exec.lock(GPUVMObject())
                }
                try? exec.lock(GPUVMObject())
            }
        }

        @Test func unlockingWhatIsNoVictimDies() async {
            await #expect(processExitsWith: .failure) {
                let object = GPUVMObject()
                var exec = ExecLocking()
                try? exec.lock(object)
                exec.unlockVictim(object)
            }
        }
    }
#endif
