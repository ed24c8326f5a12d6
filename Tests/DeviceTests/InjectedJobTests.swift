import Device
import Engines
import Fencing
import Glibc
import Memory
import PageTables
import Testing

/// Faults on purpose in jobs and binds: what a client sees, and that nobody else does.
@Suite("Injection: jobs", .timeLimit(.minutes(1)))
struct InjectedJobTests {
    @Test("A hang lasts until the time-out, which bans the queue and no other")
    func hang() throws {
        let fixture = try DeviceFixture()
        try fixture.leavingNothing {
            let program = try InjectedProgram(fixture, "program", timeout: 400_000_000)
            let other = try InjectedProgram(fixture, "other")
            let id = try fixture.inject(.hang) {
                ($0.schedule.after, $0.target.name) = (1, "program")
            }.id
            #expect(try program.run(3) == 0)
            let began = Runtime.now()
            let hung = try program.submit(4)
            let behind = try program.submit(5)
            // Others have the engine meanwhile.
            #expect(try other.run(7) == 0 && other.holds(7))
            try program.wait(behind)
            #expect(hung.error == ETIME && behind.error == ECANCELED)
            #expect(Runtime.now() - began >= 400_000_000)
            #expect(program.holds(3), "no command of a hung job was executed")
            #expect(deviceErrno { _ = try program.submit() } == ECANCELED)
            #expect(try other.run(8) == 0 && other.holds(8))
            let rules = fixture.device.injector.rules
            #expect(rules.count == 1 && rules[0].fired == 1 && !rules[0].isActive)
            let firing = try #require(fixture.firings.first)
            #expect(firing.rule == id && firing.ordinal == 2 && firing.client == program.client.id)
            #expect(firing.operation == .exec && firing.queue == program.deviceQueue)
            #expect(fixture.firings.count == 1)
        }
    }

    @Test("A closed client's hang ends with it")
    func closedHang() throws {
        let fixture = try DeviceFixture()
        try fixture.leavingNothing {
            let program = try InjectedProgram(fixture, "program", timeout: 3600_000_000_000)
            try fixture.inject(.hang)
            let hung = try program.submit()
            program.client.close()
            #expect(hung.isSignalled && hung.error == ECANCELED)
        }
    }

    @Test(
        "A fault is a record that says who made it",
        arguments: [(UInt64?.none, AccessKind.fetch), (0x1234_5000, .write), (0x40, .read)])
    func fault(address: UInt64?, access: AccessKind) throws {
        let fixture = try DeviceFixture()
        try fixture.leavingNothing {
            let program = try InjectedProgram(fixture, "program")
            let other = try InjectedProgram(fixture, "other")
            let id = try fixture.inject(.fault) {
                ($0.address, $0.access) = (address, access)
                $0.target.client = program.client.id
            }.id
            #expect(try other.run(9) == 0 && other.holds(9))
            #expect(try program.run(3) == EIO)
            #expect(!program.holds(3))
            #expect(deviceErrno { _ = try program.submit() } == ECANCELED)
            #expect(try other.run(2) == 0)
            let records = fixture.device.faults.reports(after: 0, limit: .max)
            let record = try #require(records.first)
            #expect(records.count == 1 && record.injection == id && record.isFatal)
            #expect(record.title == "Injected GPU fault")
            #expect(record.address == address ?? InjectedProgram.commands)
            #expect(record.failure?.fault?.access == access)
            #expect(record.failure?.command == InjectedProgram.commands)
            #expect(record.client == program.client.id && record.vm == program.space.id)
            #expect(record.queue == program.deviceQueue)
            #expect(
                "\(record)".hasPrefix("injected by rule \(id): engine copy0: \(access) fault at 0x")
            )
            #expect(fixture.device.status().faults == 1)
        }
    }

    @Test("A job without commands neither hangs nor faults")
    func noCommands() throws {
        let fixture = try DeviceFixture()
        let program = try InjectedProgram(fixture, "program", timeout: 30_000_000)
        try fixture.inject(.fault)
        try fixture.inject(.hang)
        let empty = try program.client.execute(
            queue: program.queue, batches: [], waits: [], signals: [])
        try program.wait(empty)
        #expect(empty.error == 0)
        #expect(fixture.device.injector.rules.allSatisfy { $0.seen == 0 })
        #expect(try program.run() == ETIME, "what hangs comes to no command")
    }

    @Test("Evicted buffers are back when the job uses them, and nobody else's leave")
    func eviction() throws {
        let fixture = try DeviceFixture()
        try fixture.leavingNothing {
            let program = try InjectedProgram(fixture, "program")
            let other = try InjectedProgram(fixture, "other")
            #expect(try program.run(3) == 0 && other.run(3) == 0)
            try fixture.inject(.eviction) {
                ($0.schedule.every, $0.schedule.count) = (2, 3)
                $0.target.process = program.client.process
            }
            let before = fixture.device.status()
            for pattern in UInt32(10)..<20 {
                #expect(try program.run(pattern) == 0 && program.holds(pattern))
                #expect(try other.run(pattern) == 0 && other.holds(pattern))
            }
            let after = fixture.device.status()
            #expect(after.evictions == before.evictions + 3)
            #expect(after.restores == before.restores + 3)
            #expect(fixture.firings.map(\.ordinal) == [2, 4, 6])
            #expect(fixture.firings.allSatisfy { $0.affected == 1 })
        }
    }

    @Test("What is now happens to all whom it meets, without a request")
    func evictionNow() throws {
        let fixture = try DeviceFixture()
        let programs = try ["a", "bb", "ccc"].map { try InjectedProgram(fixture, $0) }
        let unmapped = try programs[0].client.createBuffer(
            name: "unmapped", size: 4096, placement: .vram)
        for program in programs { #expect(try program.run(3) == 0) }
        let vm = programs[1].space.id
        let made = try fixture.inject(.eviction) { ($0.isNow, $0.target.vm) = (true, vm) }
        #expect(made.affected == 1)
        #expect(programs.map { $0.data.object.isEvicted } == [false, true, false])
        let rest = try fixture.inject(.eviction) { $0.isNow = true }
        #expect(rest.affected == 3, "two mapped ones and one that is not")
        #expect(programs.allSatisfy { $0.data.object.isEvicted } && unmapped.buffer.isEvicted)
        #expect(programs.allSatisfy { $0.holds(3) }, "with all their bytes")
        for program in programs { #expect(try program.run(4) == 0 && program.holds(4)) }
        #expect(programs.allSatisfy { !$0.data.object.isEvicted })
        #expect(fixture.firings.map(\.operation) == [[], []])
        #expect(fixture.device.injector.rules.allSatisfy { $0.fired == 1 && !$0.isActive })
    }

    @Test("A job starts late, and waits for nobody meanwhile")
    func startDelay() throws {
        let fixture = try DeviceFixture()
        // The time-out is shorter than the delay, and is the job's own.
        let program = try InjectedProgram(fixture, "program", timeout: 40_000_000)
        let other = try InjectedProgram(fixture, "other")
        try fixture.inject(.delay) {
            ($0.duration, $0.target.queue) = (120_000_000, program.deviceQueue)
        }
        let began = Runtime.now()
        let fence = try program.submit(6)
        #expect(try other.run(7) == 0)
        try program.wait(fence)
        #expect(fence.error == 0 && program.holds(6))
        #expect(Runtime.now() - began >= 120_000_000)
        let info = try program.client.fenceInfo(
            context: fence.context, sequence: fence.sequenceNumber)
        #expect(info.times.started >= began + 120_000_000)
        let otherEnded = try #require(fixture.firings.first)
        #expect(otherEnded.kind == .delay && fixture.firings.count == 1)
        #expect(try program.run(8) == 0)
    }

    @Test("A fence signals late, after its job's work")
    func signalDelay() throws {
        let fixture = try DeviceFixture()
        let program = try InjectedProgram(fixture, "program")
        let other = try InjectedProgram(fixture, "other")
        try fixture.inject(.delay) {
            ($0.duration, $0.delaysSignal) = (120_000_000, true)
            $0.target.name = "program"
        }
        let began = Runtime.now()
        let fence = try program.submit(6)
        #expect(try other.run(7) == 0 && other.holds(7))
        try program.wait(fence)
        #expect(fence.error == 0 && program.holds(6))
        let info = try program.client.fenceInfo(
            context: fence.context, sequence: fence.sequenceNumber)
        #expect(info.times.started < began + 120_000_000 || info.times.ended > info.times.started)
        #expect(info.times.ended >= info.times.started + 120_000_000)
        #expect(try program.run(8) == 0)
    }

    @Test("A late signal beyond the time-out is a time-out")
    func lateSignalTimesOut() throws {
        let fixture = try DeviceFixture()
        let program = try InjectedProgram(fixture, "program", timeout: 40_000_000)
        try fixture.inject(.delay) { ($0.duration, $0.delaysSignal) = (60_000_000_000, true) }
        #expect(try program.run(6) == ETIME)
        #expect(program.holds(6), "its work was done")
    }

    @Test("A bind executes late, and who waits for it sees it done")
    func bindDelay() throws {
        let fixture = try DeviceFixture()
        let program = try InjectedProgram(fixture, "program")
        try fixture.inject(.delay) { ($0.duration, $0.operations) = (120_000_000, .bind) }
        let began = Runtime.now()
        let operation = BindOperation(
            .map, address: 0x400_0000, range: 1 << 16, buffer: program.data.object)
        let bound = try program.client.bind(vm: program.vm, operations: [operation])
        #expect(program.space.mappings(from: 0x400_0000, limit: 1).count == 1, "submitted")
        try program.wait(bound.fence)
        #expect(bound.fence.error == 0)
        #expect(Runtime.now() - began >= 120_000_000)
        #expect(program.space.walk(0x400_0000)?.physical != nil, "executed")
    }

    @Test("What is delayed for long ends with its client, and with the device")
    func delayedToTheEnd() throws {
        let fixture = try DeviceFixture()
        let program = try InjectedProgram(fixture, "program")
        let other = try InjectedProgram(fixture, "other")
        let last = try InjectedProgram(fixture, "last")
        try fixture.inject(.delay) {
            ($0.duration, $0.schedule.count) = (600_000_000_000, 0)
            $0.operations = [.exec, .bind]
        }
        let job = try program.submit()
        let operation = BindOperation(.unmap, address: InjectedProgram.target, range: 1 << 16)
        let bind = try other.client.bind(vm: other.vm, operations: [operation]).fence
        program.client.close()
        #expect(job.isSignalled && job.error == ECANCELED)
        other.client.close()
        #expect(bind.isSignalled)
        let left = try last.submit()
        fixture.device.shutdown(deadline: 0)
        #expect(left.isSignalled && left.error == ECANCELED)
    }

    @Test("A lost device ends all jobs of its client, whose new queue works")
    func deviceLost() throws {
        let fixture = try DeviceFixture()
        try fixture.leavingNothing {
            let program = try InjectedProgram(fixture, "program")
            let other = try InjectedProgram(fixture, "other")
            let second = try program.client.createQueue(vm: program.vm, engineClass: .copy)
            let gate = try program.client.createSyncobj(isSignalled: false)
            let never = Fence(context: 1 << 60, sequenceNumber: 1)
            try program.client.syncobj(gate.handle).replaceFence(never)
            try fixture.inject(.deviceLost) { ($0.schedule.after, $0.target.name) = (1, "program") }
            let pending = try program.client.execute(
                queue: second, batches: [], waits: [SyncPoint(handle: gate.handle)], signals: [])
            #expect(!pending.isSignalled)
            #expect(deviceErrno { _ = try program.submit() } == ECANCELED)
            try program.wait(pending)
            #expect(pending.error == ECANCELED)
            #expect(try other.run(5) == 0 && other.holds(5))
            let firing = try #require(fixture.firings.first)
            #expect(firing.affected == 2 && firing.ordinal == 2 && firing.kind == .deviceLost)
            // Its VM goes on.
            let operation = BindOperation(.unmap, address: 0x800_0000, range: 4096)
            try program.wait(try program.client.bind(vm: program.vm, operations: [operation]).fence)
            let third = try program.client.createQueue(vm: program.vm, engineClass: .copy)
            let empty = try program.client.execute(
                queue: third, batches: [], waits: [], signals: [])
            try program.wait(empty)
            #expect(empty.error == 0)
            let now = try fixture.inject(.deviceLost) {
                ($0.isNow, $0.target.client) = (true, other.client.id)
            }
            #expect(now.affected == 1)
            #expect(deviceErrno { _ = try other.submit() } == ECANCELED)
            never.signal()
        }
    }
}
