import Engines
import Glibc
import PageTables
import Testing
import WireProtocol

/// Every way in which a command can fail, and that the record says where.
@Suite struct FaultTests {
    static let code: UInt64 = 0x10000
    static let good: UInt64 = 0x20000
    static let readOnly: UInt64 = 0x30000
    static let missing: UInt64 = 0x40000

    private func machine(_ dwords: [UInt32]) throws -> Machine {
        let machine = try Machine()
        try machine.map(Self.code, frame: 0)
        try machine.map(Self.good, frame: 1)
        try machine.map(Self.readOnly, frame: 2, readOnly: true)
        machine.write(dwords, frame: 0)
        return machine
    }

    private func failure(_ dwords: [UInt32], bytes: UInt64 = 0) throws -> EngineFailure? {
        let machine = try machine(dwords)
        let context = machine.context(Self.code, bytes: bytes)
        guard case .failed(let failure)? = finish(context) else { return nil }
        #expect(context.failure == failure)
        #expect(context.run() == .failed(failure), "a failed job stays failed")
        #expect(failure.engine == "copy0" && failure.batch == Self.code)
        #expect(failure.errno == EIO)
        return failure
    }

    struct Case: CustomTestStringConvertible, Sendable {
        var name: String
        var write: @Sendable (inout CommandWriter) -> Void
        var operand: EngineFailure.Operand
        var dword: Int
        var access: AccessKind
        var reason: FaultReason
        var testDescription: String { name }

        init(
            _ name: String, _ operand: EngineFailure.Operand, _ dword: Int, _ access: AccessKind,
            _ reason: FaultReason = .notMapped(level: 0),
            _ write: @escaping @Sendable (inout CommandWriter) -> Void
        ) {
            (self.name, self.operand, self.dword) = (name, operand, dword)
            (self.access, self.reason, self.write) = (access, reason, write)
        }
    }

    static let cases = [
        Case("copy source", .source, 1, .read) { $0.copy(from: missing, to: good, bytes: 9) },
        Case("copy destination", .destination, 3, .write) {
            $0.copy(from: good, to: missing, bytes: 9)
        },
        Case("copy read-only", .destination, 3, .write, .readOnly) {
            $0.copy(from: good, to: readOnly, bytes: 9)
        },
        Case("pitched source", .source, 1, .read) {
            $0.copyPitched(
                from: missing, sourcePitch: 16, to: good, destinationPitch: 8, lineBytes: 8,
                lines: 2)
        },
        Case("pitched destination", .destination, 3, .write) {
            $0.copyPitched(
                from: good, sourcePitch: 16, to: missing, destinationPitch: 8, lineBytes: 8,
                lines: 2)
        },
        Case("fill", .destination, 1, .write) { $0.fill(missing, bytes: 1, pattern: 1) },
        Case("fill read-only", .destination, 1, .write, .readOnly) {
            $0.fill(readOnly, bytes: 1, pattern: 0)
        },
        Case("store dword", .destination, 1, .write) { $0.store(missing, dword: 1) },
        Case("store qword", .destination, 1, .write, .readOnly) { $0.store(readOnly, qword: 1) },
        Case("wait", .semaphore, 1, .read) { $0.waitSemaphore(at: missing, .equal, value: 0) },
        Case("wait 32", .semaphore, 1, .read) { $0.waitSemaphore32(at: missing, .equal, value: 0) },
        Case("release", .semaphore, 1, .write) { $0.releaseSemaphore(at: missing, value: 0) },
        Case("release 32", .semaphore, 1, .write, .readOnly) {
            $0.releaseSemaphore32(at: readOnly, value: 0)
        },
        Case("timestamp", .destination, 1, .write) { $0.timestamp(at: missing) },
    ]

    @Test(arguments: cases) func everyOperandFaults(_ test: Case) throws {
        var writer = CommandWriter()
        writer.nop(dwords: 3)
        test.write(&writer)
        writer.end()
        let failure = try #require(try failure(writer.dwords))
        let address = test.reason == .readOnly ? Self.readOnly : Self.missing
        #expect(failure.fault?.address == address)
        #expect(failure.fault?.access == test.access)
        #expect(failure.fault?.reason == test.reason)
        #expect(failure.operand == test.operand)
        #expect(failure.dword == test.dword)
        #expect(failure.command == Self.code + 12)
        #expect(failure.header == writer.dwords[3])
        let text = failure.description
        #expect(text.contains("0x" + String(address, radix: 16)))
        #expect(text.contains("copy0") && text.contains("0x1000c"))
    }

    @Test func whatPrecedesTheFaultIsDone() throws {
        var writer = CommandWriter()
        let end = Self.good + 4096
        writer.fill(end - 6, bytes: 100, pattern: 0x4433_2211)
        let machine = try machine(writer.dwords)
        let context = machine.context(Self.code)
        _ = finish(context)
        #expect(context.failure?.fault?.address == end)
        #expect(
            machine.bytes(frame: 1, offset: 4088, count: 8) == [
                0, 0, 0x11, 0x22, 0x33, 0x44, 0x11, 0x22,
            ])
    }

    @Test func aDistantAddressIsOutOfRange() throws {
        for address in [1 << 48, UInt64.max - 7] {
            var writer = CommandWriter()
            writer.copy(from: Self.good, to: address, bytes: 16)
            let failure = try failure(writer.dwords)
            #expect(failure?.fault?.address == address)
            #expect(failure?.fault?.reason == .outOfRange)
        }
    }

    @Test func fetchingFaults() throws {
        var writer = CommandWriter()
        writer.jump(to: Self.missing)
        var failure = try failure(writer.dwords)
        #expect(failure?.fault?.access == .fetch)
        #expect(failure?.fault?.address == Self.missing)
        #expect(failure?.command == Self.missing)
        #expect(failure?.header == nil)

        // A command that goes on where nothing is mapped.
        let machine = try machine([])
        machine.write([0x0005_0021, 0], frame: 0, offset: 4088)
        let context = machine.context(Self.code + 4088)
        #expect(finish(context) != .done)
        failure = context.failure
        #expect(failure?.fault?.address == Self.code + 4096)
        #expect(failure?.dword == 2)
        #expect(failure?.header == 0x0005_0021)
    }

    @Test func fetchingAheadDoesNotFault() throws {
        let machine = try machine([])
        machine.write([0x0001_0001, 0x0001_0002], frame: 0, offset: 4088)
        #expect(finish(machine.context(Self.code + 4088)) == .done)
    }

    @Test func aMappingWithoutMemoryIsAMachineCheck() throws {
        let machine = try machine([])
        try machine.map(Self.missing, frame: 1000)
        var writer = CommandWriter()
        writer.store(Self.missing, dword: 1)
        machine.write(writer.dwords, frame: 0)
        let context = machine.context(Self.code)
        _ = finish(context)
        #expect(context.failure?.fault?.reason == .machineCheck((1000 + Machine.firstFrame) * 4096))
    }

    @Test func aClosedSpaceFaults() throws {
        let machine = try machine([0x0003_0003, UInt32(Self.code), 0])
        let context = machine.context(Self.code)
        #expect(context.run(EngineQuantum(commands: 10)) == .yield)
        machine.space.close()
        _ = context.run()
        #expect(context.failure?.fault?.reason == .spaceClosed)
    }

    struct Malformed: Sendable {
        var dwords: [UInt32]
        var operand = EngineFailure.Operand.command
        var dword = 0
        var cause: EngineFailure.Cause
    }

    static let malformed = [
        Malformed(dwords: [0], cause: .unknownOpcode(0)),
        Malformed(dwords: [0x0001_00ff], cause: .unknownOpcode(0xff)),
        Malformed(dwords: [0x0000_0001], cause: .wrongLength(dwords: 0, expected: 1)),
        Malformed(dwords: [0x0002_0002], cause: .wrongLength(dwords: 2, expected: 1)),
        Malformed(dwords: [0x0006_0010], cause: .wrongLength(dwords: 6, expected: 7)),
        Malformed(dwords: [0x0007_0011], cause: .wrongLength(dwords: 7, expected: 9)),
        Malformed(dwords: [0x0005_0012], cause: .wrongLength(dwords: 5, expected: 6)),
        Malformed(dwords: [0x0005_0020], cause: .wrongLength(dwords: 5, expected: 4)),
        Malformed(dwords: [0x0004_0021], cause: .wrongLength(dwords: 4, expected: 5)),
        Malformed(dwords: [0x0005_0030], cause: .wrongLength(dwords: 5, expected: 7)),
        Malformed(dwords: [0x0004_0031], cause: .wrongLength(dwords: 4, expected: 5)),
        Malformed(dwords: [0xffff_0040], cause: .wrongLength(dwords: 65535, expected: 3)),
        Malformed(dwords: [0x0002_0003], cause: .wrongLength(dwords: 2, expected: 3)),
        Malformed(dwords: [0x0001_0101], cause: .undefinedFlags(1)),
        Malformed(dwords: [0x0007_0810], cause: .undefinedFlags(8)),
        Malformed(dwords: [0x0005_0131], cause: .undefinedFlags(1)),
        Malformed(dwords: [0x0007_1030], cause: .undefinedFlags(0x10)),
        Malformed(dwords: [0x0007_0630, 0x20000, 0, 0, 0, 0, 0], cause: .undefinedFlags(6)),
        Malformed(
            dwords: [0x0003_0003, 0x20002, 0], operand: .target, dword: 1,
            cause: .misaligned(address: 0x20002, alignment: 4)),
        Malformed(
            dwords: [0x0004_0020, 0x20002, 0, 0], operand: .destination, dword: 1,
            cause: .misaligned(address: 0x20002, alignment: 4)),
        Malformed(
            dwords: [0x0005_0021, 0x20004, 0, 0, 0], operand: .destination, dword: 1,
            cause: .misaligned(address: 0x20004, alignment: 8)),
        Malformed(
            dwords: [0x0007_0030, 0x20004, 0, 0, 0, 0, 0], operand: .semaphore, dword: 1,
            cause: .misaligned(address: 0x20004, alignment: 8)),
        Malformed(
            dwords: [0x0007_0830, 0x20001, 0, 0, 0, 0, 0], operand: .semaphore, dword: 1,
            cause: .misaligned(address: 0x20001, alignment: 4)),
        Malformed(
            dwords: [0x0005_0831, 0x20006, 0, 0, 0], operand: .semaphore, dword: 1,
            cause: .misaligned(address: 0x20006, alignment: 4)),
        Malformed(
            dwords: [0x0003_0040, 0x20004, 0], operand: .destination, dword: 1,
            cause: .misaligned(address: 0x20004, alignment: 8)),
    ]

    @Test(arguments: malformed.indices) func malformedCommandsStopTheEngine(index: Int) throws {
        let test = Self.malformed[index]
        let failure = try #require(try failure(test.dwords))
        #expect(failure.cause == test.cause)
        #expect(failure.operand == test.operand)
        #expect(failure.dword == test.dword)
        #expect(failure.command == Self.code)
        #expect(failure.header == test.dwords[0])
    }

    @Test func aMisalignedBatchFails() throws {
        let machine = try machine([0x0001_0002, 0x0001_0002])
        let context = machine.context(Self.code + 2)
        _ = finish(context)
        #expect(context.failure?.cause == .misaligned(address: Self.code + 2, alignment: 4))
    }

    @Test func aBatchEndsAtItsLimit() throws {
        // NOP of one dword, then END.
        let dwords: [UInt32] = [0x0001_0001, 0x0001_0002]
        #expect(try failure(dwords, bytes: 8) == nil)
        for limit in [4, 5, 7] as [UInt64] {
            let beyond = try failure(dwords, bytes: limit)
            #expect(beyond?.cause == .outsideBatch)
            #expect(beyond?.command == Self.code + 4)
        }
        // A command that begins inside and ends outside, and a jump out.
        let store = try failure([0x0004_0020, 0x20000, 0, 1], bytes: 12)
        #expect(store?.cause == .outsideBatch)
        #expect(store?.command == Self.code)
        let jump = try failure([0x0003_0003, 0x20000, 0], bytes: 12)
        #expect(jump?.cause == .outsideBatch)
        #expect(jump?.command == 0x20000)
        let back = try failure([0x0003_0003, 0xfffc, 0], bytes: 12)
        #expect(back?.cause == .outsideBatch)
    }
}
