import Engines
import Fencing
import PageTables
import Testing

/// Semaphores of the host, copy, graphics and inline classes.
@Suite struct NVIDIASemaphoreTests {
    private let data = NVIDIAMachine.data
    private static let oneWord: UInt32 = 1 << 24

    @Test func hostReleases() throws {
        let nvidia = try NVIDIAMachine()
        nvidia.setData([UInt8](repeating: 0xff, count: 64))
        let before = Runtime.now()
        var writer = PushWriter()
        writer.semaphore(data + 4, 0x1234_5678, 2 | Self.oneWord)
        writer.semaphore(data + 16, 7, 2)
        writer.semaphore64(data + 32, 0x1_0000_0002, 1 | 1 << 24)
        writer.semaphore64(data + 48, 0x1_0000_0002, 1 | 1 << 25)
        #expect(nvidia.run(writer) == .done)
        let after = Runtime.now()
        #expect(nvidia.dword(0) == .max && nvidia.dword(8) == .max)
        #expect(nvidia.dword(4) == 0x1234_5678)
        #expect(nvidia.qword(16) == 7)
        #expect(nvidia.qword(32) == 0x1_0000_0002)
        #expect(nvidia.qword(40) == .max)
        #expect(nvidia.qword(48) == 2)
        for offset in [24, 56] as [UInt64] {
            #expect((before...after).contains(nvidia.qword(offset)))
        }
        #expect(nvidia.engine.counters.semaphoreReleases == 4)
    }

    /// Memory, payload, SEMAPHORED operation, whether it goes on.
    static let acquires: [(UInt32, UInt32, UInt32, Bool)] = [
        (5, 5, 1, true), (6, 5, 1, false), (4, 5, 1, false), (5, 5, 4, true), (6, 5, 4, true),
        (4, 5, 4, false), (0, .max, 4, true), (.max, 0, 4, false), (6, 2, 8, true),
        (4, 3, 8, false),
    ]

    @Test(arguments: acquires.indices) func hostAcquires(index: Int) throws {
        let (memory, payload, operation, passes) = Self.acquires[index]
        let nvidia = try NVIDIAMachine()
        nvidia.machine.write([memory], frame: 4, offset: 8)
        var writer = PushWriter()
        writer.semaphore(data + 8, payload, operation | 1 << 12)
        #expect(nvidia.run(writer) == (passes ? .done : .blocked))
    }

    /// Memory, payload, SEM_EXECUTE operation, whether it goes on with 64 bits and with 32.
    static let wideAcquires: [(UInt64, UInt64, UInt32, Bool, Bool)] = [
        (0x1_0000_0005, 5, 0, false, true), (0x1_0000_0005, 0x1_0000_0005, 0, true, true),
        (0x1_0000_0005, 6, 2, true, false), (0x8000_0000_0000_0001, 2, 2, true, false),
        (0x8000_0000_0000_0001, 2, 3, true, false), (0x8000_0000_0000_0002, 1, 3, false, true),
        (3, 2, 3, true, true),
        (1, .max, 3, true, true), (0x1_0000_0000, 0x1_0000_0001, 4, true, false),
        (1, 0xffff_fffe, 5, true, false), (1, 2, 5, true, true), (1, .max - 1, 5, false, false),
    ]

    @Test(arguments: wideAcquires.indices) func wideHostAcquires(index: Int) throws {
        let (memory, payload, operation, passesWide, passes) = Self.wideAcquires[index]
        for isWide in [true, false] {
            let nvidia = try NVIDIAMachine()
            nvidia.machine.host(frame: 4, offset: 8).storeBytes(of: memory, as: UInt64.self)
            var writer = PushWriter()
            writer.semaphore64(data + 8, payload, operation | (isWide ? 1 << 24 : 0))
            let expected: EngineOutcome = (isWide ? passesWide : passes) ? .done : .blocked
            #expect(nvidia.run(writer) == expected, "wide \(isWide)")
        }
    }

    @Test func aBlockedJobGoesOnWhenItsSemaphoreIsReleased() throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.semaphore(data, 3, 4)
        writer.semaphore(data + 4, 9, 2 | Self.oneWord)
        let context = nvidia.context(writer.dwords)
        for _ in 0..<3 { #expect(context.run() == .blocked) }
        #expect(!context.wroteSemaphore)
        nvidia.machine.write([3], frame: 4)
        #expect(context.run() == .done)
        #expect(context.wroteSemaphore)
        context.clearSemaphoreWrites()
        #expect(!context.wroteSemaphore)
        #expect(nvidia.dword(4) == 9)
        #expect(nvidia.engine.counters.methods(.host) == 8)
    }

    @Test(arguments: [UInt32(0), 1]) func reports(subchannel: UInt32) throws {
        let nvidia = try NVIDIAMachine()
        nvidia.setData([UInt8](repeating: 0xff, count: 128))
        let before = Runtime.now()
        var writer = PushWriter()
        writer.bindAll()
        writer.report(subchannel, data + 4, 3, 1 << 28)
        writer.report(subchannel, data + 16, 0xffff_0000, 0)
        if subchannel == 0 {
            writer.report(0, data + 32, 77, 2 | 0xf << 12)
            writer.report(0, data + 48, 77, 2 | 1 << 28)
        }
        #expect(nvidia.run(writer) == .done)
        let after = Runtime.now()
        #expect(nvidia.dword(4) == 3 && nvidia.dword(8) == .max)
        #expect(nvidia.qword(16) == 0xffff_0000)
        #expect((before...after).contains(nvidia.qword(24)))
        if subchannel == 0 {
            // Counters of what is never drawn.
            #expect(nvidia.qword(32) == 0)
            #expect((before...after).contains(nvidia.qword(40)))
            #expect(nvidia.dword(48) == 0 && nvidia.dword(52) == .max)
        }
    }

    @Test func graphicsAcquires() throws {
        let nvidia = try NVIDIAMachine()
        nvidia.machine.write([5], frame: 4)
        for (payload, isGreater, passes) in [
            (5, false, true), (4, false, false), (4, true, true), (6, true, false),
        ] as [(UInt32, Bool, Bool)] {
            var writer = PushWriter()
            writer.bindAll()
            writer.report(0, data, payload, 1 | (isGreater ? 1 << 16 : 0))
            #expect(nvidia.run(writer) == (passes ? .done : .blocked))
        }
    }

    @Test func aCopyReleasesAfterItsData() throws {
        let nvidia = try NVIDIAMachine()
        nvidia.setData(Array(1...8))
        let before = Runtime.now()
        var writer = PushWriter()
        // The semaphore is what the copy wrote just before.
        writer.push(4, 0x240, 0, UInt32(data) + 64, 0xaabb_ccdd)
        writer.copy(
            from: data, to: data + 64, length: 8,
            launch: PushWriter.Launch.linear | PushWriter.Launch.oneWord)
        writer.push(4, 0x244, UInt32(data) + 96)
        writer.push(4, 0x300, PushWriter.Launch.fourWords)
        #expect(nvidia.run(writer) == .done)
        #expect(Array(nvidia.data()[64..<72]) == [0xdd, 0xcc, 0xbb, 0xaa, 5, 6, 7, 8])
        #expect(nvidia.qword(96) == 0xaabb_ccdd)
        #expect((before...Runtime.now()).contains(nvidia.qword(104)))
        #expect(nvidia.engine.counters.copiedBytes == 8)
    }

    @Test func adaHasPayloadsOfTwoWords() throws {
        let nvidia = try NVIDIAMachine(classes: .ad104)
        var writer = PushWriter()
        writer.push(4, 0x240, 0, UInt32(data) + 8, 1, 2)
        writer.push(4, 0x300, 8 | 1 << 27)
        #expect(nvidia.run(writer) == .done)
        #expect(nvidia.qword(8) == 0x2_0000_0001)
    }

    /// Host's number, graphics' number, old value, payload, result unsigned, result signed.
    static let reductions: [(UInt32, UInt32, UInt32, UInt32, UInt32, UInt32)] = [
        (5, 0, 0xffff_ffff, 2, 1, 1), (0, 1, 0xffff_ffff, 2, 2, 0xffff_ffff),
        (1, 2, 0xffff_ffff, 2, 0xffff_ffff, 2), (2, 7, 0b1100, 0b1010, 0b0110, 0b0110),
        (3, 5, 0b1100, 0b1010, 0b1000, 0b1000), (4, 6, 0b1100, 0b1010, 0b1110, 0b1110),
        (6, 3, 3, 5, 4, 4), (6, 3, 5, 5, 0, 0), (7, 4, 3, 5, 2, 2), (7, 4, 0, 5, 5, 5),
        (7, 4, 6, 5, 5, 5),
    ]

    @Test(arguments: reductions.indices) func everyReduction(index: Int) throws {
        let (host, graphics, old, payload, unsigned, signed) = Self.reductions[index]
        for isSigned in [false, true] {
            let nvidia = try NVIDIAMachine()
            nvidia.machine.write([UInt32](repeating: old, count: 20), frame: 4)
            let hostBits = host << 27 | (isSigned ? 0 : 1 << 31)
            var writer = PushWriter()
            writer.bindAll()
            writer.semaphore(data, payload, 0x10 | hostBits)
            writer.semaphore64(data + 8, UInt64(payload), 6 | hostBits)
            writer.report(
                0, data + 16, payload,
                1 << 28 | 8 | graphics << 9 | (isSigned ? 1 << 17 : 0))
            writer.push(4, 0x240, 0, UInt32(data) + 24, payload)
            writer.push(4, 0x300, 0x8_0008 | host << 14 | (isSigned ? 0 : 1 << 18))
            #expect(nvidia.run(writer) == .done)
            for offset in [0, 8, 16, 24] as [UInt64] {
                #expect(nvidia.dword(offset) == (isSigned ? signed : unsigned), "at \(offset)")
                #expect(nvidia.dword(offset + 4) == old)
            }
        }
    }

    @Test func wideReductions() throws {
        let nvidia = try NVIDIAMachine()
        nvidia.machine.write([0xffff_ffff, 0], frame: 4)
        var writer = PushWriter()
        writer.semaphore64(data, 1, 6 | 1 << 24 | 5 << 27)
        #expect(nvidia.run(writer) == .done)
        #expect(nvidia.qword(0) == 0x1_0000_0000)
    }

    /// Each way to reach a semaphore at an address: alignment, writes, and how.
    static let ways: [(UInt64, Bool, @Sendable (inout PushWriter, UInt64) -> Void)] = [
        (4, false, { $0.semaphore64($1, 0, 0) }), (8, false, { $0.semaphore64($1, 0, 1 << 24) }),
        (4, true, { $0.semaphore($1, 0, 2 | 1 << 24) }), (16, true, { $0.semaphore($1, 0, 2) }),
        (8, true, { $0.semaphore64($1, 0, 1 | 1 << 24) }),
        (16, true, { $0.semaphore64($1, 0, 1 | 1 << 25) }),
        (4, true, { $0.report(0, $1, 0, 1 << 28) }), (16, true, { $0.report(1, $1, 0, 0) }),
        (16, true, { $0.report(0, $1, 0, 2) }), (4, false, { $0.report(0, $1, 0, 1) }),
        (
            4, true,
            {
                $0.address(4, 0x240, $1)
                $0.push(4, 0x300, 8)
            }
        ),
        (
            16, true,
            {
                $0.address(4, 0x240, $1)
                $0.push(4, 0x300, 16)
            }
        ),
    ]

    @Test(arguments: ways.indices) func everySemaphoreFaults(index: Int) throws {
        let (alignment, writes, write) = Self.ways[index]
        for (address, reason) in [
            (NVIDIAMachine.missing, FaultReason.notMapped(level: 0)),
            (NVIDIAMachine.readOnly, .readOnly),
        ] where writes || reason != .readOnly {
            let nvidia = try NVIDIAMachine()
            var writer = PushWriter()
            writer.bindAll()
            write(&writer, address)
            let failure = try #require(nvidia.failure(writer))
            #expect(failure.operand == .semaphore)
            #expect(failure.fault?.address == address)
            #expect(failure.fault?.reason == reason)
            #expect(failure.fault?.access == (writes ? .write : .read))
            #expect(failure.method != nil)
        }
        // The host's addresses have no bits for less than 4.
        guard alignment > 4 else { return }
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.bindAll()
        write(&writer, data + 4)
        #expect(
            nvidia.failure(writer)?.cause
                == .misaligned(address: data + 4, alignment: alignment))
    }
}
