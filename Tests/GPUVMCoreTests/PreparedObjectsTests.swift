import Fencing
import GPUVMCore
import Testing

/// What an attempt remembers of the objects that it has prepared.
@Suite struct PreparedObjectsTests {
    /// The macros take no value that cannot be copied.
    private func expect(
        _ exec: borrowing ExecLocking, knows object: GPUVMObject, slots: Int = 1,
        _ expected: Bool, _ location: SourceLocation = #_sourceLocation
    ) {
        let isKnown = exec.isKnownPrepared(Unmanaged.passUnretained(object), slots: slots)
        #expect(isKnown == expected, sourceLocation: location)
    }

    @Test func remembersWhatWasPreparedAndForHowMany() throws {
        let (a, b) = (GPUVMObject(), GPUVMObject())
        var exec = ExecLocking(ignoresDuplicates: true)
        try exec.untilAllLocked { exec throws(GPUVMError) in
            expect(exec, knows: a, false)
            try exec.prepare(a, slots: 2)
            expect(exec, knows: a, true)
            expect(exec, knows: a, slots: 2, true)
            expect(exec, knows: a, slots: 3, false)
            expect(exec, knows: b, false)
            // More slots are made although it is remembered.
            try exec.prepare(a, slots: 3)
            expect(exec, knows: a, slots: 3, true)
        }
        // What follows may use the slots.
        expect(exec, knows: a, false)
        exec.unlockAll()
    }

    @Test func lockingMakesNoRoom() throws {
        let a = GPUVMObject()
        var exec = ExecLocking(ignoresDuplicates: true)
        try exec.untilAllLocked { exec throws(GPUVMError) in
            try exec.lock(a)
            expect(exec, knows: a, false)
        }
        exec.unlockAll()
    }

    @Test func forgetsWhenItEvictsAndWhenItUnlocks() throws {
        let (a, victim) = (GPUVMObject(), GPUVMObject())
        var exec = ExecLocking(ignoresDuplicates: true)
        try exec.untilAllLocked { exec throws(GPUVMError) in
            try exec.prepare(a, slots: 1)
            let isLocked = try exec.lockVictim(victim, waiting: false)
            #expect(isLocked)
            expect(exec, knows: a, false)
            try exec.prepare(a, slots: 1)
            exec.unlockVictim(victim)
            expect(exec, knows: a, false)
            try exec.prepare(a, slots: 1)
        }
        exec.unlockAll()
        expect(exec, knows: a, false)
        #expect(!a.reservation.isLocked)
    }

    @Test func remembersNothingOutsideOfABody() throws {
        let vm = try GPUVM(start: 0, range: 1 << 30, capacity: 64)
        defer { vm.close() }
        let object = GPUVMObject()
        var exec = ExecLocking(ignoresDuplicates: true)
        try exec.prepare(object, slots: 1)
        expect(exec, knows: object, false)
        let (first, second) = (FenceContext().makeFence(), FenceContext().makeFence())
        exec.addFence(first, vm: vm, privateUsage: .bookkeep, externalUsage: .write)
        // The slot is used: this makes another.
        try exec.prepare(object, slots: 1)
        exec.addFence(second, vm: vm, privateUsage: .bookkeep, externalUsage: .write)
        exec.unlockAll()
        #expect(object.reservation.fences(.write).count == 2)
        first.signal()
        second.signal()
    }

    @Test func duplicatesAreErrorsStillUnlessIgnored() throws {
        let a = GPUVMObject()
        var exec = ExecLocking()
        #expect(throws: GPUVMError.alreadyLocked) {
            try exec.untilAllLocked { exec throws(GPUVMError) in
                try exec.prepare(a, slots: 1)
                try exec.prepare(a, slots: 1)
            }
        }
        #expect(!a.reservation.isLocked)
    }

    @Test func isNeverWrongAboutMany() throws {
        let objects = (0..<200).map { _ in GPUVMObject() }
        var exec = ExecLocking(ignoresDuplicates: true)
        try exec.untilAllLocked { exec throws(GPUVMError) in
            for (index, object) in objects.enumerated() {
                expect(exec, knows: object, false)
                try exec.prepare(object, slots: 1)
                expect(exec, knows: object, true)
                for later in objects[(index + 1)...] { expect(exec, knows: later, false) }
            }
        }
        exec.unlockAll()
    }
}
