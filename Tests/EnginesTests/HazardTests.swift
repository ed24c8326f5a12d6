import Engines
import PageTables
import TestSupport
import Testing

/// Missing barriers between copies: what orders them, what a record says, and what it does.
@Suite struct HazardTests {
    private let data = NVIDIAMachine.data
    private let pipelined: UInt32 = 0x385
    private let ordered: UInt32 = 0x386

    /// Runs a job as its queue does, taking every record.
    private func records(
        _ nvidia: NVIDIAMachine, _ writer: PushWriter
    ) -> (records: [EngineFailure], outcome: EngineOutcome?) {
        let context = nvidia.context(writer.dwords)
        var records: [EngineFailure] = []
        for _ in 0..<100_000 {
            let outcome = context.run()
            if let record = context.takeHazard() { records.append(record) }
            if outcome != .yield { return (records, outcome) }
        }
        return (records, nil)
    }

    private func hazards(_ writer: PushWriter) throws -> [CopyHazard] {
        let found = records(try NVIDIAMachine(), writer)
        #expect(found.outcome == .done)
        return found.records.compactMap(\.hazard)
    }

    /// data[0..<64) → [0x1000…), `between`, then [0x1010…) → [0x2000…).
    private func readAfterWrite(
        _ first: UInt32, _ second: UInt32, between: (inout PushWriter) -> Void
    ) throws -> [CopyHazard] {
        var writer = PushWriter()
        writer.bindAll()
        writer.copy(from: data, to: data + 0x1000, length: 64, launch: first)
        between(&writer)
        writer.copy(from: data + 0x1010, to: data + 0x2000, length: 64, launch: second)
        return try hazards(writer)
    }

    @Test func aReadOfWhatMayNotBeWrittenYetIsARecord() throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.copy(from: data, to: data + 0x1000, length: 64, launch: pipelined)
        writer.copy(from: data + 0x1010, to: data + 0x2000, length: 64, launch: pipelined)
        let (records, outcome) = records(nvidia, writer)
        #expect(outcome == .done)
        // Each copy is a header with 8 dwords, then LAUNCH_DMA's header and value.
        let record = try #require(records.first)
        #expect(records.count == 1)
        #expect(record.command == NVIDIAMachine.code + 20 * 4)
        #expect(record.operand == .source)
        #expect(record.method?.classID == NVIDIAClasses.tu104.copy)
        #expect(record.method?.method == 0x300)
        let hazard = try #require(record.hazard)
        #expect(hazard.kind == .readAfterWrite)
        #expect(hazard.address == data + 0x1010 && hazard.bytes == 48)
        #expect(hazard.earlier == NVIDIAMachine.code + 9 * 4)
        #expect(!hazard.isOrdered && !hazard.isIncomplete)
        #expect(record.errno != 0)
        #expect(
            record.description.contains(
                """
                missing barrier (read after write): the launch reads 0x201010+0x30, which the \
                launch at 0x100024 writes, and nothing orders them: they may overlap
                """))
        #expect(nvidia.engine.counters.missingBarriers == 1)
        // The copies are made all the same.
        #expect(nvidia.engine.counters.copiedBytes == 128)
    }

    @Test func allThreeKindsAreFound() throws {
        var writer = PushWriter()
        writer.copy(from: data, to: data + 0x1000, length: 64, launch: pipelined)
        writer.copy(from: data + 0x2000, to: data + 0x103f, length: 2, launch: pipelined)
        writer.copy(from: data + 0x3000, to: data + 0x20, length: 8, launch: pipelined)
        let found = try hazards(writer)
        #expect(found.map(\.kind) == [.writeAfterWrite, .writeAfterRead])
        #expect(found.map(\.address) == [data + 0x103f, data + 0x20])
        #expect(found.map(\.bytes) == [1, 8])
    }

    @Test func readersDoNotDisturbEachOther() throws {
        var writer = PushWriter()
        for index in 0..<20 {
            writer.copy(
                from: data, to: data + 0x1000 + UInt64(index) * 64, length: 64, launch: pipelined)
        }
        #expect(try hazards(writer).isEmpty)
    }

    @Test func neighboursDoNotMeet() throws {
        var writer = PushWriter()
        writer.copy(from: data, to: data + 0x1000, length: 64, launch: pipelined)
        writer.copy(from: data + 0x1040, to: data + 0x2000, length: 64, launch: pipelined)
        writer.copy(from: data + 0xfc0, to: data + 0x2040, length: 64, launch: pipelined)
        #expect(try hazards(writer).isEmpty)
    }

    @Test func theHardwaresOwnOrderIsSaidToBeSo() throws {
        let found = try readAfterWrite(ordered, ordered) { _ in }
        #expect(found.map(\.kind) == [.readAfterWrite])
        #expect(found.map(\.isOrdered) == [true])
        #expect(found.first?.description.contains("only this hardware's order saves it") == true)
    }

    @Test func aWriteBehindAReadMayBeOrderedByABarrierThatIsNoMethod() throws {
        // Mesa's NVK 25 emits nothing for a barrier behind reads.
        var writer = PushWriter()
        writer.copy(from: data, to: data + 0x1000, length: 64, launch: ordered)
        writer.copy(from: data + 0x2000, to: data, length: 64, launch: ordered)
        #expect(try hazards(writer).isEmpty)
    }

    @Test func aNonPipelinedLaunchWaitsForPipelinedOnes() throws {
        #expect(try readAfterWrite(pipelined, ordered) { _ in }.isEmpty)
        // The other way round nothing waits.
        #expect(try readAfterWrite(ordered, pipelined) { _ in }.map(\.isOrdered) == [false])
    }

    /// What a driver says for "wait", method by method.
    static let barriers: [(name: String, dwords: [(UInt32, UInt32, [UInt32])])] = [
        ("3D wait for idle", [(0, 0x110, [0])]),
        ("compute wait for idle", [(1, 0x110, [0])]),
        ("3D shader cache", [(0, 0x21c, [0x1011])]),
        ("compute shader cache", [(1, 0x21c, [0x1011])]),
        ("host wait for idle", [(4, 0x78, [0])]),
        ("host reference", [(4, 0x50, [0])]),
        ("host release", [(0, 0x10, [0, 0x20_4000, 1, 2])]),
        ("host acquire", [(0, 0x10, [0, 0x20_4000, 0, 1])]),
        ("host release of the newer kind", [(0, 0x5c, [0x20_4000, 0, 1, 0, 1])]),
        ("3D report", [(0, 0x1b00, [0, 0x20_4000, 1, 0x1000_0000])]),
        ("empty launch", [(4, 0x418, [0, 0]), (4, 0x300, [0x586])]),
        ("launch's semaphore", [(4, 0x240, [0, 0x20_4000, 1]), (4, 0x300, [0x188])]),
    ]

    @Test(arguments: barriers.indices) func aBarrierOrders(index: Int) throws {
        let (name, methods) = Self.barriers[index]
        for launch in [pipelined, ordered] {
            let found = try readAfterWrite(launch, launch) { writer in
                for (subchannel, method, values) in methods {
                    writer.push(op: 1, subchannel, method, values)
                }
            }
            #expect(found.isEmpty, "\(name)")
        }
    }

    @Test func stateAndEmptyPipelinedLaunchesOrderNothing() throws {
        let found = try readAfterWrite(pipelined, pipelined) { writer in
            writer.push(4, 0x100, 0)
            writer.push(0, 0x1288, 0)
            writer.push(4, 0x418, 0, 0)
            writer.push(4, 0x300, 0x585)
        }
        #expect(found.count == 1)
    }

    @Test func aJobBeginsOrdered() throws {
        let nvidia = try NVIDIAMachine()
        for (from, to) in [(0, 0x1000), (0x1000, 0x2000)] as [(UInt64, UInt64)] {
            var writer = PushWriter()
            writer.copy(from: data + from, to: data + to, length: 64, launch: pipelined)
            #expect(records(nvidia, writer).records.isEmpty)
        }
    }

    @Test func fillsAndMaskedWritesAreWhatTheyAre() throws {
        /// Elements of four bytes; selectors from the lowest component on.
        func fill(_ writer: inout PushWriter, _ components: UInt32) {
            writer.push(4, 0x700, 7, 7, components)
            writer.copy(from: 0, to: data + 0x1000, length: 16, launch: 0x785)
        }
        // Constants only: no source. All four components, twice.
        var writer = PushWriter()
        fill(&writer, 0x0300_4444)
        fill(&writer, 0x0300_4444)
        #expect(try hazards(writer).map(\.kind) == [.writeAfterWrite])
        // The first three components, then the fourth: nothing is certain.
        writer = PushWriter()
        fill(&writer, 0x0300_6444)
        fill(&writer, 0x0300_4666)
        #expect(try hazards(writer).isEmpty)
    }

    @Test func columnsOfOneSurfaceDoNotMeet() throws {
        for isTiled in [false, true] {
            var writer = PushWriter()
            for column in 0..<4 {
                if isTiled {
                    writer.push(4, 0x70c, 0x1010, 256, 32, 1, 0)
                    writer.push(4, 0x74c, UInt32(column) * 64, 3)
                }
                writer.copy(
                    from: data, pitch: 64,
                    to: data + 0x4000 + UInt64(isTiled ? 0 : column * 64), outPitch: 256,
                    length: 64, lines: 20, launch: isTiled ? 0x281 : pipelined)
            }
            #expect(try hazards(writer).isEmpty)
            // A byte of the second column again, on its last line.
            if isTiled { writer.push(4, 0x74c, 64, 22) }
            writer.copy(
                from: data, pitch: 64, to: data + 0x4000 + (isTiled ? 0 : 64 + 19 * 256),
                outPitch: 256, length: 1, lines: 1, launch: isTiled ? 0x281 : pipelined)
            let found = try hazards(writer)
            // Line 22 is the seventh of the second row of blocks: sectors 0x80 and 0x20.
            let tiled: UInt64 = (4 + 1) * 1024 + 0x80 + 0x20
            #expect(found.map(\.kind) == [.writeAfterWrite])
            #expect(
                found.first?.address
                    == data + 0x4000 + (isTiled ? tiled : 64 + 19 * 256))
        }
    }

    @Test func aRunOfLaunchesIsOneRecord() throws {
        var writer = PushWriter()
        for (from, to) in [(0, 0x1000), (0x1000, 0x2000)] as [(UInt64, UInt64)] {
            for chunk in 0..<8 as Range<UInt64> {
                writer.copy(
                    from: data + from + chunk * 128, to: data + to + chunk * 128, length: 128,
                    launch: pipelined)
            }
        }
        let nvidia = try NVIDIAMachine()
        #expect(records(nvidia, writer).records.count == 1)
        #expect(nvidia.engine.counters.missingBarriers == 8)
    }

    @Test func recordsAreFew() throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        for offset in 0..<20 as Range<UInt64> {
            writer.copy(
                from: data, to: data + 0x1000 + offset * 32, length: 16, launch: pipelined)
        }
        for offset in 0..<20 as Range<UInt64> {
            writer.copy(
                from: data, to: data + 0x1000 + offset * 32, length: 16, launch: pipelined)
        }
        // 7 for a job, 64 for a channel.
        for job in 0..<12 {
            #expect(records(nvidia, writer).records.count == min(7, 64 - min(64, job * 7)))
        }
        #expect(nvidia.engine.counters.missingBarriers == 12 * 20)
    }

    @Test func aRecordSaysWhenNotEverythingWasCompared() throws {
        // Reads of which no two continue each other, again and again, more than are remembered; their
        // writes leave a component out and do not count.
        for (repetitions, isIncomplete) in [(1, false), (6, true)] {
            let nvidia = try NVIDIAMachine()
            var writer = PushWriter()
            writer.push(4, 0x708, 0x0330_6210)
            for index in 0..<200 as Range<UInt64> {
                writer.copy(
                    from: data + index * 32, to: data + 0x4000, length: 4, launch: 0x785)
            }
            let reads = writer.dwords.count
            writer.copy(from: data, to: data + 0x8000, length: 16, launch: pipelined)
            writer.copy(from: data + 0x8000, to: data + 0x9000, length: 1, launch: pipelined)
            nvidia.machine.write(writer.dwords, frame: 0)
            let code = NVIDIAMachine.code
            let split = UInt64(reads * 4)
            let pushes =
                Array(
                    repeating: NVIDIAPush(address: code, bytes: split), count: repetitions)
                + [
                    NVIDIAPush(
                        address: code + split, bytes: UInt64(writer.dwords.count * 4) - split)
                ]
            let context = NVIDIAContext(
                engine: nvidia.engine, channel: nvidia.channel, space: nvidia.machine.space,
                pushes: pushes)
            var found: [CopyHazard] = []
            var outcome = EngineOutcome.yield
            while outcome == .yield {
                outcome = context.run()
                if let hazard = context.takeHazard()?.hazard { found.append(hazard) }
            }
            #expect(outcome == .done)
            #expect(found.map(\.kind) == [.readAfterWrite])
            #expect(found.map(\.isIncomplete) == [isIncomplete])
        }
    }

    @Test func aChannelThatMustNotIsKilled() throws {
        let machine = try NVIDIAMachine(hazards: .fail)
        var writer = PushWriter()
        writer.copy(from: data, to: data + 0x1000, length: 64, launch: ordered)
        writer.copy(from: data + 0x1000, to: data + 0x2000, length: 64, launch: ordered)
        let failure = try #require(machine.failure(writer))
        #expect(failure.hazard?.kind == .readAfterWrite)
        // The second copy is not made.
        #expect(machine.engine.counters.copiedBytes == 64)
    }

    @Test func whoDoesNotWantToKnowIsNotTold() throws {
        let machine = try NVIDIAMachine(hazards: .off)
        var writer = PushWriter()
        writer.copy(from: data, to: data + 0x1000, length: 64, launch: pipelined)
        writer.copy(from: data + 0x1000, to: data + 0x2000, length: 64, launch: pipelined)
        #expect(records(machine, writer).records.isEmpty)
        #expect(machine.engine.counters.missingBarriers == 0)
    }

    @Test func addressesAtTheEndOfTheirRangeAreNoTrap() throws {
        let nvidia = try NVIDIAMachine()
        for lines in [1, 2, 0xffff_ffff] as [UInt32] {
            var writer = PushWriter()
            writer.push(4, 0x70c, 0x1555, .max, .max, .max, .max)
            writer.push(4, 0x74c, .max, .max)
            writer.copy(
                from: 0x1_ffff_ffff_ffff, pitch: .max, to: 0x1_ffff_ffff_ffff, outPitch: .max,
                length: .max, lines: lines, launch: 0x281)
            #expect(nvidia.failure(writer)?.operand == .source)
            writer.copy(
                from: 0x1_ffff_ffff_ffff, pitch: .max, to: 0x1_ffff_ffff_ffff, outPitch: .max,
                length: .max, lines: lines, launch: pipelined)
            #expect(nvidia.failure(writer)?.operand == .source)
        }
    }
}
