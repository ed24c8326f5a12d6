import Engines
import Fencing
import PageTables
import Testing
import WireProtocol

/// What each command does, by hand-computed bytes.
@Suite struct CommandTests {
    let code: UInt64 = 0x10000
    let data: UInt64 = 0x20000

    private func machine(_ body: (inout CommandWriter) -> Void) throws -> Machine {
        let machine = try Machine()
        try machine.map(code, frame: 0)
        // Two pages that are neighbours in the VM only.
        try machine.map(data, frame: 5)
        try machine.map(data + 4096, frame: 3)
        try machine.mapNull(data + 8192)
        var writer = CommandWriter()
        body(&writer)
        writer.end()
        machine.write(writer.dwords, frame: 0)
        return machine
    }

    private func qword(_ machine: Machine, frame: UInt64, offset: UInt64) -> UInt64 {
        machine.host(frame: frame, offset: offset).load(as: UInt64.self)
    }

    @Test func theWriterFollowsTheHeaderFile() {
        var writer = CommandWriter()
        writer.nop(dwords: 3)
        writer.copy(from: 0x1_0000_0002, to: 0x3_0000_0004, bytes: 0x5_0000_0006)
        writer.copyPitched(
            from: 1, sourcePitch: 2, to: 3, destinationPitch: 4, lineBytes: 5, lines: 6)
        writer.fill(0x7_0000_0008, bytes: 9, pattern: 10)
        writer.store(8, dword: 11)
        writer.store(16, qword: 0xc_0000_000d)
        writer.waitSemaphore(at: 24, .greater, value: 14, mask: 0xf_0000_0010)
        writer.waitSemaphore32(at: 4, .lessOrEqual, value: 17, mask: 18)
        writer.releaseSemaphore(at: 32, value: 19)
        writer.releaseSemaphore32(at: 36, value: 20)
        writer.timestamp(at: 40)
        writer.jump(to: 0x15_0000_0018)
        writer.end()
        let expected: [UInt32] = [
            0x0003_0001, 0, 0,
            0x0007_0010, 2, 1, 4, 3, 6, 5,
            0x0009_0011, 1, 0, 3, 0, 2, 4, 5, 6,
            0x0006_0012, 8, 7, 9, 0, 10,
            0x0004_0020, 8, 0, 11,
            0x0005_0021, 16, 0, 13, 12,
            0x0007_0330, 24, 0, 14, 0, 16, 15,
            0x0007_0d30, 4, 0, 17, 0, 18, 0,
            0x0005_0031, 32, 0, 19, 0,
            0x0005_0831, 36, 0, 20, 0,
            0x0003_0040, 40, 0,
            0x0003_0003, 24, 21,
            0x0001_0002,
        ]
        #expect(writer.dwords == expected)
        #expect(writer.byteCount == UInt64(expected.count) * 4)
    }

    @Test func aCopyCrossesPagesToTheLastByte() throws {
        let machine = try machine { $0.copy(from: data + 1, to: data + 4096 - 5, bytes: 13) }
        let source = (1...13).map { UInt8($0) }
        machine.host(frame: 5, offset: 1).copyMemory(from: source, byteCount: 13)
        #expect(finish(machine.context(code)) == .done)
        #expect(machine.bytes(frame: 5, offset: 4090, count: 6) == [0, 1, 2, 3, 4, 5])
        #expect(machine.bytes(frame: 3, count: 9) == [6, 7, 8, 9, 10, 11, 12, 13, 0])
    }

    @Test func anOverlappingCopyGoesByteByByte() throws {
        let machine = try machine {
            $0.copy(from: data, to: data + 3, bytes: 7)
            $0.copy(from: data + 102, to: data + 100, bytes: 4)
        }
        machine.host(frame: 5).copyMemory(from: [1, 2, 3] as [UInt8], byteCount: 3)
        machine.host(frame: 5, offset: 100).copyMemory(
            from: [1, 2, 3, 4, 5, 6] as [UInt8], byteCount: 6)
        #expect(finish(machine.context(code)) == .done)
        #expect(machine.bytes(frame: 5, count: 11) == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 0])
        #expect(machine.bytes(frame: 5, offset: 100, count: 6) == [3, 4, 5, 6, 5, 6])
    }

    @Test func aPitchedCopyTouchesItsLinesOnly() throws {
        let machine = try machine {
            $0.copyPitched(
                from: data, sourcePitch: 4, to: data + 100, destinationPitch: 5, lineBytes: 3,
                lines: 3)
        }
        machine.host(frame: 5).copyMemory(from: (1...12).map { UInt8($0) }, byteCount: 12)
        #expect(finish(machine.context(code)) == .done)
        #expect(
            machine.bytes(frame: 5, offset: 100, count: 16)
                == [1, 2, 3, 0, 0, 5, 6, 7, 0, 0, 9, 10, 11, 0, 0, 0])
    }

    @Test func nullPagesReadZeroAndDropWrites() throws {
        let machine = try machine {
            $0.fill(data, bytes: 8, pattern: 0xffff_ffff)
            $0.copy(from: data + 8192, to: data + 2, bytes: 4)
            $0.copy(from: data, to: data + 8192, bytes: 8)
            $0.store(data + 8192, qword: 7)
            $0.waitSemaphore(at: data + 8192, .equal, value: 0)
            $0.copy(from: data + 8192, to: data + 8192 + 100, bytes: 3000)
        }
        #expect(finish(machine.context(code)) == .done)
        #expect(machine.bytes(frame: 5, count: 8) == [255, 255, 0, 0, 0, 0, 255, 255])
    }

    @Test func emptyTransfersTouchNothing() throws {
        let machine = try machine {
            $0.copy(from: 0, to: 0, bytes: 0)
            $0.fill(0, bytes: 0, pattern: 1)
            $0.copyPitched(
                from: 0, sourcePitch: 1, to: 0, destinationPitch: 1, lineBytes: 0, lines: .max)
            $0.copyPitched(
                from: 0, sourcePitch: 9, to: 0, destinationPitch: 9, lineBytes: 9, lines: 0)
        }
        #expect(finish(machine.context(code), EngineQuantum(commands: 1)) == .done)
    }

    @Test func storesAndReleases() throws {
        let machine = try machine {
            $0.store(data, dword: 0x0403_0201)
            $0.store(data + 8, qword: 0x0807_0605_0403_0201)
            $0.releaseSemaphore(at: data + 16, value: .max)
            $0.releaseSemaphore32(at: data + 28, value: 5)
        }
        let context = machine.context(code)
        #expect(finish(context) == .done)
        #expect(context.wroteSemaphore)
        context.clearSemaphoreWrites()
        #expect(!context.wroteSemaphore)
        #expect(machine.bytes(frame: 5, count: 8) == [1, 2, 3, 4, 0, 0, 0, 0])
        #expect(machine.bytes(frame: 5, offset: 8, count: 8) == [1, 2, 3, 4, 5, 6, 7, 8])
        #expect(qword(machine, frame: 5, offset: 16) == .max)
        #expect(machine.bytes(frame: 5, offset: 24, count: 8) == [0, 0, 0, 0, 5, 0, 0, 0])
    }

    @Test func timestampsAreTheMonotonicClock() throws {
        let machine = try machine {
            $0.timestamp(at: data)
            $0.timestamp(at: data + 8)
        }
        let before = Runtime.now()
        #expect(finish(machine.context(code)) == .done)
        let after = Runtime.now()
        let first = qword(machine, frame: 5, offset: 0)
        let second = qword(machine, frame: 5, offset: 8)
        #expect(before <= first && first <= second && second <= after)
    }

    /// Which of <, ==, > satisfy each comparison.
    static let comparisons: [(SemaphoreCompare, Set<Int>)] = [
        (.equal, [0]), (.notEqual, [-1, 1]), (.greaterOrEqual, [0, 1]), (.greater, [1]),
        (.less, [-1]), (.lessOrEqual, [-1, 0]),
    ]

    @Test(arguments: comparisons.indices, [true, false])
    func semaphoresCompareUnsigned(index: Int, is32: Bool) throws {
        let (compare, satisfied) = Self.comparisons[index]
        // High bits set, so that a signed comparison errs; the masked-out bits differ.
        let value: UInt64 = is32 ? 0x8000_0010 : 0x8000_0000_0000_0010
        for relation in [-1, 0, 1] {
            let machine = try machine {
                if is32 {
                    $0.waitSemaphore32(
                        at: data + 4, compare, value: UInt32(value), mask: 0xffff_fff0)
                } else {
                    $0.waitSemaphore(at: data, compare, value: value, mask: ~0xf)
                }
            }
            let memory =
                switch relation {
                case -1: 0x0000_001f as UInt64
                case 0: value | 0x5
                default: (is32 ? 0xffff_ffff : UInt64.max)
                }
            if is32 {
                machine.host(frame: 5).storeBytes(of: memory << 32 | 0x77, as: UInt64.self)
            } else {
                machine.host(frame: 5).storeBytes(of: memory, as: UInt64.self)
            }
            let expected: EngineOutcome = satisfied.contains(relation) ? .done : .blocked
            #expect(finish(machine.context(code)) == expected, "\(compare) \(relation)")
        }
    }

    @Test func aBlockedWaitGoesOnWhenMemoryChanges() throws {
        let machine = try machine {
            $0.store(data + 8, qword: 1)
            $0.waitSemaphore(at: data, .greaterOrEqual, value: 3)
            $0.store(data + 16, qword: 2)
        }
        let context = machine.context(code)
        #expect(context.run() == .blocked)
        #expect(context.run() == .blocked)
        #expect(qword(machine, frame: 5, offset: 8) == 1)
        #expect(qword(machine, frame: 5, offset: 16) == 0)
        machine.host(frame: 5).storeBytes(of: 3, as: UInt64.self)
        #expect(context.run() == .done)
        #expect(qword(machine, frame: 5, offset: 16) == 2)
    }

    @Test func commandsBehindAWaitAreFetchedAfterIt() throws {
        let machine = try machine {
            $0.waitSemaphore(at: data, .equal, value: 1)
            $0.store(data + 16, qword: 2)
        }
        let context = machine.context(code)
        #expect(context.run() == .blocked)
        // The value of the store.
        machine.write([9], frame: 0, offset: 4 * (7 + 3))
        machine.host(frame: 5).storeBytes(of: 1, as: UInt64.self)
        #expect(context.run() == .done)
        #expect(qword(machine, frame: 5, offset: 16) == 9)
    }

    @Test func batchesFollowEachOther() throws {
        let machine = try machine { $0.store(data, dword: 1) }
        var second = CommandWriter()
        second.copy(from: data, to: data + 4, bytes: 4)
        second.end()
        machine.write(second.dwords, frame: 0, offset: 2048)
        let context = CommandContext(
            engine: machine.engine, space: machine.space,
            batches: [
                CommandBatch(address: code),
                CommandBatch(address: code + 2048, bytes: second.byteCount),
            ])
        #expect(finish(context, EngineQuantum(commands: 1)) == .done)
        #expect(qword(machine, frame: 5, offset: 0) == 0x1_0000_0001)
        let nothing = CommandContext(engine: machine.engine, space: machine.space, batches: [])
        #expect(nothing.run() == .done)
    }

    @Test func theQuantumBoundsTheWork() throws {
        let machine = try machine { $0.fill(data, bytes: 4096, pattern: 0x0101_0101) }
        let context = machine.context(code)
        let quantum = EngineQuantum(commands: 1, bytes: 1000, chunkBytes: 300)
        func filled() -> Int { machine.bytes(frame: 5, count: 4096).count { $0 == 1 } }
        #expect(context.run(quantum) == .yield)
        #expect(filled() == 1000)
        // Asked before each piece of at most 300 bytes: two pieces, then stop.
        var asked = 0
        let outcome = context.run(quantum) {
            asked += 1
            return asked == 3
        }
        #expect(outcome == .yield)
        #expect(filled() == 1600)
        #expect(finish(context, quantum) == .done)
        #expect(filled() == 4096)
    }
}
