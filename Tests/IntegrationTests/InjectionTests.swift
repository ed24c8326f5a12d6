import CWireProtocol
import GPUVMClient
import Glibc
import TestSupport
import Testing
import WireProtocol

/// Faults on purpose over the wire: who may make them, what a request may say, what comes back.
@Suite("Injection over the protocol", .timeLimit(.minutes(1)))
struct InjectionTests {
    private func rule(
        _ kind: gpuvm_inject_kind, _ change: (inout gpuvm_injection) -> Void = { _ in }
    ) -> gpuvm_injection {
        var rule = gpuvm_injection()
        rule.kind = kind.rawValue
        rule.count = 1
        rule.every = 1
        rule.probability = 1_000_000
        if kind == GPUVM_INJECT_FAULT { rule.access = GPUVM_ACCESS_FETCH.rawValue }
        change(&rule)
        return rule
    }

    @Test("Only the daemon's user and root make, see and clear rules")
    func privilege() throws {
        let daemon = try TestDaemon()
        let stranger = try daemon.connectAsStranger("stranger")
        let control = try daemon.connect("control")
        try control.inject(rule(GPUVM_INJECT_OOM) { $0.target_client = 999 })
        #expect(errno(of: { try stranger.inject(rule(GPUVM_INJECT_HANG)) }) == EPERM)
        // Nothing is learned from what is wrong with a rule.
        #expect(errno(of: { try stranger.inject(gpuvm_injection()) }) == EPERM)
        #expect(errno(of: { try stranger.clearInjections() }) == EPERM)
        #expect(errno(of: { try stranger.clearInjections(1) }) == EPERM)
        #expect(errno(of: { _ = try stranger.injections() }) == EPERM)
        #expect(errno(of: { _ = try stranger.injectionFirings() }) == EPERM)
        #expect(try control.injections().count == 1)
        // But it can meet them.
        try control.inject(rule(GPUVM_INJECT_OOM) { $0.target_name = WireName.encode("stranger") })
        #expect(errno(of: { _ = try stranger.makeSyncobj() }) == ENOMEM)
    }

    @Test("What makes no sense is refused, whatever field it is in")
    func refused() throws {
        let daemon = try TestDaemon()
        let control = try daemon.connect("control")
        #expect(control.server.minor == 3)
        #expect(control.server.capabilities & UInt64(GPUVM_CAP_INJECTION) != 0)
        let bad: [(gpuvm_inject_kind, (inout gpuvm_injection) -> Void)] = [
            (GPUVM_INJECT_HANG, { $0.kind = 0 }), (GPUVM_INJECT_HANG, { $0.kind = 7 }),
            (GPUVM_INJECT_HANG, { $0.flags = 8 }), (GPUVM_INJECT_HANG, { $0.operations = 0x100 }),
            (GPUVM_INJECT_HANG, { $0.operations = GPUVM_INJECT_AT_VM_BIND }),
            (GPUVM_INJECT_HANG, { $0.reserved = 1 }), (GPUVM_INJECT_HANG, { $0.every = 0 }),
            (GPUVM_INJECT_HANG, { $0.probability = 0 }),
            (GPUVM_INJECT_HANG, { $0.probability = 1_000_001 }),
            (GPUVM_INJECT_HANG, { $0.address = 1 }), (GPUVM_INJECT_HANG, { $0.access = 2 }),
            (GPUVM_INJECT_HANG, { $0.flags = GPUVM_INJECT_NOW }),
            (GPUVM_INJECT_HANG, { $0.flags = GPUVM_INJECT_HAS_ADDRESS }),
            (GPUVM_INJECT_HANG, { $0.duration_ns = 5 }),
            (GPUVM_INJECT_HANG, { $0.target_pid = -1 }),
            (GPUVM_INJECT_HANG, { $0.target_name.0 = 7 }),
            (GPUVM_INJECT_HANG, { $0.target_name.1 = 65 }),
            (GPUVM_INJECT_FAULT, { $0.access = 3 }), (GPUVM_INJECT_FAULT, { $0.address = 1 }),
            (GPUVM_INJECT_DELAY, { _ in }), (GPUVM_INJECT_DELAY, { $0.duration_ns = .max }),
            (
                GPUVM_INJECT_OOM,
                { ($0.operations, $0.target_vm) = (GPUVM_INJECT_AT_GEM_NEW, 1) }
            ),
            (
                GPUVM_INJECT_EVICTION,
                { ($0.flags, $0.seed) = (GPUVM_INJECT_NOW, 1) }
            ),
        ]
        for (index, (kind, change)) in bad.enumerated() {
            #expect(
                errno(of: { try control.inject(rule(kind, change)) }) == EINVAL, "case \(index)")
        }
        #expect(try control.injections().isEmpty)
        #expect(errno(of: { try control.clearInjections(3) }) == ENOENT)
        #expect(try control.clearInjections() == 0)
    }

    @Test("Rules come back as they were made, and outlive who made them")
    func lists() throws {
        let daemon = try TestDaemon()
        var made: [gpuvm_injection] = []
        do {
            let control = try daemon.connect("control")
            made.append(
                rule(GPUVM_INJECT_FAULT) {
                    $0.flags = GPUVM_INJECT_HAS_ADDRESS
                    $0.operations = GPUVM_INJECT_AT_EXEC
                    $0.address = 0xdead_beef_0000
                    $0.access = GPUVM_ACCESS_WRITE.rawValue
                    ($0.after, $0.every, $0.count, $0.seed) = (3, 4, 0, 77)
                    $0.probability = 250_000
                    ($0.target_client, $0.target_pid) = (900, 901)
                    ($0.target_vm, $0.target_queue) = (902, 903)
                    $0.target_name = WireName.encode("vulkaninfo")
                })
            made.append(
                rule(GPUVM_INJECT_DELAY) {
                    $0.flags = GPUVM_INJECT_DELAY_SIGNAL
                    $0.operations = GPUVM_INJECT_AT_EXEC
                    $0.duration_ns = 20_000_000
                    $0.target_pid = 1
                })
            #expect(try made.map { try control.inject($0).id } == [1, 2])
            control.close()
        }
        let reader = try daemon.connect("reader")
        let listed = try reader.injections()
        #expect(listed.map(\.id) == [1, 2])
        for (record, rule) in zip(listed, made) {
            let same = withUnsafeBytes(of: record.rule) { a in
                withUnsafeBytes(of: rule) { b in a.elementsEqual(b) }
            }
            #expect(same, "rule \(record.id)")
            #expect(record.active == 1 && record.seen == 0 && record.fired == 0)
            #expect(record.created > 0 && record.last_fired == 0)
        }
        #expect(try reader.injectionFirings().isEmpty)
        #expect(try reader.clearInjections(1) == 1)
        #expect(try reader.injections().map(\.id) == [2])
        #expect(try reader.clearInjections() == 1)
    }

    @Test("A fault says in its record which rule made it; the firing and the log say whom it met")
    func fault() throws {
        let daemon = try TestDaemon()
        let control = try daemon.connect("control")
        let victim = try Workbench(try daemon.connect("victim"))
        let bystander = try Workbench(try daemon.connect("bystander"))
        let client = victim.connection.server.clientID
        let made = try control.inject(
            rule(GPUVM_INJECT_FAULT) { ($0.target_client, $0.after) = (client, 1) })
        #expect(made.affected == 0)
        #expect(try victim.run { _ in } == 0)
        let point = victim.nextPoint()
        try victim.queue.exec([try victim.batch { _ in }], signals: [point])
        try victim.connection.wait(for: [point], flags: .all, deadline: soon())
        #expect(errno(of: { try victim.run { _ in } }) == ECANCELED)
        #expect(try bystander.run { _ in } == 0)
        let record = try #require(try victim.connection.faults().first)
        #expect(record.flags & GPUVM_FAULT_IS_INJECTED != 0 && record.detail == made.id)
        #expect(record.reason == GPUVM_FAULT_NOT_MAPPED.rawValue)
        #expect(
            (Workbench.commandAddress..<Workbench.commandAddress + (1 << 20))
                .contains(record.address))
        let firing = try #require(try control.injectionFirings().first)
        #expect(firing.rule == made.id && firing.kind == GPUVM_INJECT_FAULT.rawValue)
        #expect(firing.operation == GPUVM_INJECT_AT_EXEC && firing.ordinal == 2)
        #expect(firing.client_id == client && firing.pid == getpid())
        #expect(WireName.display(firing.client) == "victim")
        #expect(firing.vm == (try victim.id) && firing.queue == record.queue)
        let rules = try control.injections()
        #expect(rules[0].active == 0 && rules[0].seen == 2 && rules[0].fired == 1)
        #expect(rules[0].last_fired == firing.timestamp)
        #expect(
            daemon.eventually {
                daemon.log.lines().contains {
                    $0.contains("injected fault at exec number 2, rule 1")
                }
            })
    }

    @Test("A missing buffer, a lost device and an eviction leave nothing behind")
    func nothingLeft() throws {
        let daemon = try TestDaemon()
        let control = try daemon.connect("control")
        let before = try daemon.counts(control)
        do {
            let victim = try Workbench(try daemon.connect("victim"))
            try control.inject(rule(GPUVM_INJECT_OOM) { $0.operations = GPUVM_INJECT_AT_GEM_NEW })
            #expect(
                errno(of: { _ = try victim.connection.makeBuffer(size: 4096, name: "b") }) == ENOMEM
            )
            let vram = try victim.connection.makeBuffer(
                size: 1 << 20, placement: .vram, name: "vram")
            try victim.vm.bind([.map(vram, at: 0x100_0000, range: 1 << 20)])
            let left = try control.inject(
                rule(GPUVM_INJECT_EVICTION) { $0.flags = GPUVM_INJECT_NOW })
            #expect(left.affected == 1)
            #expect(try control.memoryInfo().evicted_buffers == 1)
            try control.inject(
                rule(GPUVM_INJECT_DELAY) { $0.duration_ns = 50_000_000 })
            #expect(try victim.run { $0.fill(0x100_0000, bytes: 1 << 20, pattern: 5) } == 0)
            #expect(try control.memoryInfo().evicted_buffers == 0)
            let lost = try control.inject(
                rule(GPUVM_INJECT_DEVICE_LOST) {
                    $0.flags = GPUVM_INJECT_NOW
                    $0.target_name = WireName.encode("victim")
                })
            #expect(lost.affected == 1)
            #expect(errno(of: { try victim.run { _ in } }) == ECANCELED)
            #expect(try victim.run(on: try victim.vm.makeQueue(.copy)) { _ in } == 0)
            victim.connection.close()
        }
        #expect(try daemon.settle(control, to: before) == before)
    }
}
