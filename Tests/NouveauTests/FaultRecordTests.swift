import Device
import Engines
import Fencing
import Glibc
import Testing

/// What a program does wrong without any access that fails: that it is in the fault log.
@Suite("nouveau: missing barriers and refused binds are records")
struct FaultRecordTests {
    private static let sourceVA = ExecSetup.sourceVA
    private static let targetVA = ExecSetup.targetVA

    private func reports(_ fixture: NouveauFixture) -> [FaultReport] {
        fixture.device.faults.reports(after: 0, limit: .max)
    }

    /// Source to target, then from there on, with or without a wait for idle between.
    private func chain(_ setup: ExecSetup, isOrdered: Bool = false) -> [(
        address: UInt64, bytes: UInt32
    )] {
        setup.write {
            $0.copy(from: Self.sourceVA, to: Self.targetVA, bytes: 0x1000)
            if isOrdered { $0.methods(4, 0x50, [0]) }
            $0.copy(from: Self.targetVA + 0x800, to: Self.targetVA + 0x4000, bytes: 0x1000)
        }
    }

    @Test("A missing barrier is a record with the program's names, and the job goes on")
    func hazard() throws {
        let setup = try ExecSetup()
        let file = setup.file
        #expect(
            try file.exec(
                setup.channel, chain(setup), signals: [.timeline(setup.timeline, 1)]) == 0)
        #expect(try file.timelineWait([(setup.timeline, 1)]) == 0)
        // Who sees the fence finds the record.
        let records = reports(setup.fixture)
        let record = try #require(records.first)
        #expect(records.count == 1)
        #expect(!record.isFatal)
        #expect(record.title == "GPU hazard")
        let hazard = try #require(record.failure?.hazard)
        #expect(hazard.kind == .readAfterWrite)
        #expect(hazard.isOrdered)
        #expect(record.address == Self.targetVA + 0x800)
        #expect(hazard.bytes == 0x800)
        #expect(record.below?.address == Self.targetVA)
        #expect("\(record)".contains("missing barrier (read after write)"))
        let status = setup.fixture.device.status()
        #expect(status.faults == 0 && status.failedJobs == 0)
        #expect(setup.fixture.shared.engines.reduce(0) { $0 + $1.counters.missingBarriers } == 1)
        #expect(
            setup.target.bytes[0x4000..<0x4800].elementsEqual(setup.source.bytes[0x800..<0x1000]))
        // The channel lives, and the same with a barrier is no record.
        #expect(
            try file.exec(
                setup.channel, chain(setup, isOrdered: true),
                signals: [.timeline(setup.timeline, 2)]) == 0)
        #expect(try file.timelineWait([(setup.timeline, 2)]) == 0)
        #expect(reports(setup.fixture).count == 1)
    }

    @Test("Configured to, a missing barrier kills the channel")
    func fatalHazard() throws {
        let setup = try ExecSetup(configure: { $0.hazards = .fail })
        let file = setup.file
        #expect(
            try file.exec(
                setup.channel, chain(setup), signals: [.timeline(setup.timeline, 1)]) == 0)
        #expect(try file.timelineWait([(setup.timeline, 1)]) == 0)
        #expect(try file.exec(setup.channel, []) == ENODEV)
        let record = try #require(reports(setup.fixture).first)
        #expect(record.isFatal)
        #expect(record.failure?.hazard?.kind == .readAfterWrite)
        #expect(setup.fixture.device.status().faults == 1)
    }

    @Test("Configured to, nobody looks for barriers")
    func unseenHazard() throws {
        let setup = try ExecSetup(configure: { $0.hazards = .off })
        #expect(
            try setup.file.exec(
                setup.channel, chain(setup), signals: [.timeline(setup.timeline, 1)]) == 0)
        #expect(try setup.file.timelineWait([(setup.timeline, 1)]) == 0)
        #expect(reports(setup.fixture).isEmpty)
    }

    @Test("A bind of what the buffer has not is a record that names both")
    func refusedBind() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        try file.vmInit()
        let made = try file.gemNew(0x8000)
        let address: UInt64 = 0x40_0000
        #expect(
            try file.bind([
                .mapSparse(0x80_0000, 0x1000),
                .map(made.handle, at: address, 0x4000, offset: 0x6000),
            ]) == EINVAL)
        let record = try #require(reports(fixture).first)
        let refusal = try #require(record.refusal)
        #expect(record.failure == nil)
        #expect(!record.isFatal)
        #expect(record.address == address)
        #expect(refusal.errno == EINVAL)
        #expect(refusal.index == 1 && refusal.count == 2)
        #expect(refusal.operation.kind == .map && refusal.operation.range == 0x4000)
        #expect(refusal.mapping.offset == 0x6000 && refusal.bufferBytes == 0x8000)
        #expect(
            "\(record)".contains(
                """
                map of 0x400000+0x4000 from 0x6000 of BO \(refusal.mapping.buffer) “gem”, which has \
                0x8000 bytes (operation 2 of 2) answered errno 22: it ends 0x2000 bytes behind the \
                buffer's end
                """))
        #expect(fixture.device.status().refusedBinds == 1)
        #expect(fixture.device.status().faults == 0)

        // Wholly behind it; a handle that is none; a range of nothing.
        #expect(try file.bind([.map(made.handle, at: address, 0x1000, offset: 0x8000)]) == EINVAL)
        #expect(try file.bind([.map(made.handle + 77, at: address, 0x1000)]) == ENOENT)
        #expect(try file.bind([.unmap(address, 0)]) == EINVAL)
        let others = reports(fixture).dropFirst().compactMap(\.refusal)
        #expect(others.map(\.errno) == [EINVAL, ENOENT, EINVAL])
        #expect(others.map(\.bufferBytes) == [0x8000, 0, 0])
        #expect(others.first?.reason == "all of it lies behind the buffer's end")
        #expect(others.last?.operation.kind == .unmap)
    }

    @Test("A program that does nothing else does not fill the log")
    func floods() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        try file.vmInit()
        for _ in 0..<100 { #expect(try file.bind([.unmap(1, 1)]) == EINVAL) }
        #expect(reports(fixture).count == 64)
        #expect(fixture.device.status().refusedBinds == 100)
    }
}
