import CPlatform
import Device
import Fencing
import Glibc
import Memory
import TestSupport
import Testing

/// Whom rules meet, what requests answer, and what is remembered.
@Suite("Injection: requests", .timeLimit(.minutes(1)))
struct InjectionTests {
    @Test("Each request can be short of memory, and has then changed nothing")
    func shortage() throws {
        let fixture = try DeviceFixture()
        try fixture.leavingNothing {
            let program = try InjectedProgram(fixture, "program")
            let client = program.client
            let descriptor = gpuvm_memfd_create("import", 4096)
            try #require(descriptor >= 0)
            defer { close(descriptor) }
            let requests: [(InjectionOperations, () throws -> Void)] = [
                (
                    .bufferCreate,
                    { _ = try client.createBuffer(name: "b", size: 4096, placement: .system) }
                ),
                (
                    .bufferImport,
                    {
                        _ = try client.importBuffer(
                            name: "i", descriptor: dup(descriptor), size: 4096)
                    }
                ),
                (.vmCreate, { _ = try client.createVM(name: "v", start: 0, range: 1 << 30) }),
                (
                    .bind,
                    {
                        let operation = BindOperation(.unmap, address: 0x800_0000, range: 4096)
                        try program.wait(
                            try client.bind(vm: program.vm, operations: [operation]).fence)
                    }
                ),
                (
                    .queueCreate,
                    { _ = try client.createQueue(vm: program.vm, engineClass: .copy) }
                ),
                (.exec, { try program.wait(try program.submit()) }),
                (.syncobjCreate, { _ = try client.createSyncobj(isSignalled: false) }),
            ]
            for (index, (operation, request)) in requests.enumerated() {
                let id = try fixture.inject(.shortage) {
                    ($0.operations, $0.schedule.count) = (operation, 2)
                }.id
                // The others are not met.
                for (other, (_, request)) in requests.enumerated() where other != index {
                    #expect(deviceErrno(request) == 0, "\(operation)")
                }
                let before = client.counts
                let memory = fixture.device.status()
                #expect(deviceErrno(request) == ENOMEM, "\(operation)")
                #expect(deviceErrno(request) == ENOMEM, "\(operation)")
                let after = client.counts
                #expect(after.buffers == before.buffers && after.vms == before.vms)
                #expect(after.queues == before.queues && after.syncobjs == before.syncobjs)
                #expect(
                    after.mappings == before.mappings && after.bufferBytes == before.bufferBytes)
                #expect(fixture.device.status().systemUsed == memory.systemUsed)
                #expect(deviceErrno(request) == 0, "\(operation): only twice")
                let status = try #require(fixture.device.injector.rules.first { $0.id == id })
                #expect(
                    status.seen == 2 && status.fired == 2, "\(operation): spent rules meet nobody")
            }
            client.close()
        }
    }

    @Test("What is wrong with a request is said before what is made wrong")
    func orderOfErrors() throws {
        let fixture = try DeviceFixture()
        let program = try InjectedProgram(fixture, "program")
        try fixture.inject(.shortage) { $0.schedule.count = 0 }
        let client = program.client
        #expect(
            deviceErrno { _ = try client.createBuffer(name: "", size: 0, placement: .vram) }
                == EINVAL)
        #expect(deviceErrno { _ = try client.bind(vm: 99, operations: []) } == ENOENT)
        #expect(deviceErrno { _ = try client.createQueue(vm: 99, engineClass: .copy) } == ENOENT)
        #expect(fixture.device.injector.rules[0].seen == 0)
        #expect(deviceErrno { _ = try client.bind(vm: program.vm, operations: []) } == ENOMEM)
    }

    @Test("Only who is privileged makes faults")
    func privilege() throws {
        let fixture = try DeviceFixture()
        let program = try InjectedProgram(fixture, "program")
        #expect(deviceErrno { _ = try program.client.inject(InjectionRule(.hang)) } == EPERM)
        #expect(deviceErrno { _ = try program.client.removeInjections() } == EPERM)
        #expect(fixture.device.injector.rules.isEmpty)
    }

    @Test("Who makes rules meets only those that name it")
    func makers() throws {
        let fixture = try DeviceFixture()
        try fixture.inject(.shortage) { $0.schedule.count = 0 }
        _ = try fixture.client.createSyncobj(isSignalled: false)
        try fixture.inject(.shortage) { $0.target.process = fixture.client.process }
        #expect(deviceErrno { _ = try fixture.client.createSyncobj(isSignalled: false) } == ENOMEM)
    }

    @Test("A firing whose request comes to nothing does not count")
    func withdrawn() throws {
        let fixture = try DeviceFixture()
        let program = try InjectedProgram(fixture, "program", timeout: 30_000_000)
        try fixture.inject(.fault)
        #expect(try program.run() == EIO)
        try fixture.inject(.hang)
        #expect(deviceErrno { _ = try program.submit() } == ECANCELED, "the queue is banned")
        let status = try #require(fixture.device.injector.rules.last)
        #expect(status.seen == 1 && status.fired == 0 && status.isActive)
        #expect(fixture.firings.count == 1)
        let other = try InjectedProgram(fixture, "other", timeout: 30_000_000)
        #expect(try other.run() == ETIME)
    }

    @Test("Of two rules of one kind the older one comes first; rules of several kinds all do")
    func several() throws {
        let fixture = try DeviceFixture()
        let program = try InjectedProgram(fixture, "program")
        for count in [UInt64(1), 2] {
            try fixture.inject(.shortage) {
                ($0.operations, $0.schedule.count) = (.syncobjCreate, count)
            }
        }
        let results = (0..<4).map { _ in
            deviceErrno { _ = try program.client.createSyncobj(isSignalled: false) }
        }
        #expect(results == [ENOMEM, ENOMEM, ENOMEM, 0])
        #expect(fixture.firings.map(\.rule) == [1, 2, 2])
        try fixture.inject(.eviction)
        try fixture.inject(.delay) { $0.duration = 1_000_000 }
        try fixture.inject(.fault)
        #expect(try program.run() == EIO)
        let kinds = fixture.firings.suffix(3).map(\.kind)
        #expect(kinds == [.eviction, .delay, .fault])
    }

    @Test("The same seed and requests are the same firings", arguments: [UInt64(3), 99])
    func determinism(seed: UInt64) throws {
        var model = SplitMix64(seed: seed)
        let expected = (1...300).filter { _ in
            UInt128(model.next()) * 10 < UInt128(3) << 64
        }.map { UInt64($0) }
        for _ in 0..<2 {
            let fixture = try DeviceFixture()
            let program = try InjectedProgram(fixture, "program")
            try fixture.inject(.shortage) {
                $0.operations = .syncobjCreate
                $0.schedule.count = 0
                $0.schedule.probability = 300_000
                $0.schedule.seed = seed
            }
            var refused: [UInt64] = []
            for ordinal in UInt64(1)...300
            where deviceErrno({ _ = try program.client.createSyncobj(isSignalled: false) })
                == ENOMEM
            {
                refused.append(ordinal)
            }
            #expect(refused == expected, "seed \(seed)")
            #expect(fixture.firings.map(\.ordinal) == expected, "seed \(seed)")
        }
    }

    @Test("The last 256 firings are remembered, and every one is an event")
    func manyFirings() throws {
        let fixture = try DeviceFixture()
        let program = try InjectedProgram(fixture, "program")
        try fixture.inject(.shortage) { ($0.operations, $0.schedule.count) = (.syncobjCreate, 0) }
        for _ in 0..<300 {
            #expect(
                deviceErrno { _ = try program.client.createSyncobj(isSignalled: false) } == ENOMEM)
        }
        #expect(fixture.firings.map(\.id) == Array(45...300))
        #expect(fixture.device.injector.firings(after: 298).map(\.id) == [299, 300])
        fixture.device.shutdown(deadline: 0)
        let events = fixture.events.all.compactMap {
            if case .injected(let firing) = $0 { firing.ordinal } else { nil }
        }
        #expect(events == Array(1...300))
    }
}
