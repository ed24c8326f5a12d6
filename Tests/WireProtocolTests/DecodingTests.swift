import CPlatform
import CWireProtocol
import SystemPackage
import Testing
import WireProtocol

@Suite struct DecodingTests {
    @Test func handMadeRequestIsRead() throws {
        var body = Hand()
        for word: UInt32 in [9, 4, 1, 2, 0, 1] { body.u32(word) }
        for index: UInt64 in 0..<2 {
            for word: UInt32 in [1, 0, 0, 0] { body.u32(word) }
            body.u64(0x1000 * index)
            body.u64(0x1000)
            body.u64(0)
        }
        body.u32(5)
        body.u32(1)
        body.u64(42)
        let bytes = Hand.message(34, serial: 0xffff_ffff, body: body.bytes)
        let decoded = try decode(bytes)
        #expect(decoded.opcode == .vmBind)
        #expect(decoded.serial == 0xffff_ffff)
        let result: (UInt32, [UInt64], UInt64, Int) = try decoded.body.withUnsafeBytes { raw in
            var reader = MessageReader(raw)
            let bind = try reader.read(gpuvm_vm_bind.self)
            let ops = try reader.readArray(
                gpuvm_bind_op.self, count: bind.op_count, limit: 16, "operations")
            let signals = try reader.readArray(
                gpuvm_sync.self, count: bind.signal_count, limit: 16, "signals")
            try reader.expectEnd()
            return (bind.vm, ops.map(\.address), signals[0].point, reader.remaining)
        }
        #expect(result == (9, [0, 0x1000], 42, 0))
    }

    @Test(arguments: [
        // Shorter than a header, which therefore cannot be echoed.
        ([UInt8](), Errno.invalidArgument, UInt32(0)),
        ([UInt8](repeating: 0, count: 15), .invalidArgument, 0),
        (Hand.message(20, length: 23, body: [UInt8](repeating: 0, count: 8)), .invalidArgument, 7),
        (Hand.message(20, length: 25, body: [UInt8](repeating: 0, count: 8)), .invalidArgument, 7),
        (Hand.message(20, length: 0, body: [UInt8](repeating: 0, count: 8)), .invalidArgument, 7),
        (
            Hand.message(20, length: .max, body: [UInt8](repeating: 0, count: 8)),
            .invalidArgument, 7
        ),
        (Hand.message(20, body: []), .invalidArgument, 7),
        (Hand.message(20, body: [UInt8](repeating: 0, count: 16)), .invalidArgument, 7),
        (Hand.message(20, flags: 2, body: [UInt8](repeating: 0, count: 8)), .invalidArgument, 7),
        (
            Hand.message(20, flags: 0x8000, body: [UInt8](repeating: 0, count: 8)),
            .invalidArgument, 7
        ),
        (Hand.message(20, status: 1, body: [UInt8](repeating: 0, count: 8)), .invalidArgument, 7),
        (Hand.message(34, body: [UInt8](repeating: 0, count: 16)), .invalidArgument, 7),
        (Hand.message(0), .notSupported, 7),
        (Hand.message(0xffff), .notSupported, 7),
        (Hand.message(20, flags: 1, length: 8), .invalidArgument, 7),
    ])
    func malformedRequest(bytes: [UInt8], code: Errno, serial: UInt32) throws {
        let failure = try #require(decodeFailure(bytes))
        #expect(failure.error.code == code)
        #expect(failure.serial == serial)
        #expect(!failure.error.text.isEmpty)
    }

    @Test func repliesAreToldFromRequests() throws {
        let body = [UInt8](repeating: 0, count: 8)
        #expect(decodeFailure(Hand.message(32, flags: 0x8000, body: body), as: .reply) == nil)
        #expect(decodeFailure(Hand.message(32, body: body), as: .reply) != nil)
        let negative = Hand.message(32, flags: 0x8000, status: -5, body: body)
        #expect(decodeFailure(negative, as: .reply) != nil)
        // An error reply whose text is shorter than it says is found when the text is read.
        let short = Hand.message(32, flags: 0x8000, status: 5, body: [1, 0, 0, 0, 0, 0, 0, 0])
        #expect(try decode(short, as: .reply).status == 5)
    }

    @Test func cutMessagesAreRefused() {
        let bytes = Hand.message(20, body: [UInt8](repeating: 0, count: 8))
        #expect(throws: DecodeFailure.self) { try decode(bytes, bytesWereCut: true) }
        #expect(throws: DecodeFailure.self) { try decode(bytes, fdsWereCut: true) }
    }

    @Test func countsAreCheckedBeforeTheyAreUsed() {
        let bytes = [UInt8](repeating: 0, count: 64)
        bytes.withUnsafeBytes { raw in
            var reader = MessageReader(raw)
            #expect(throws: WireError.self) {
                try reader.readArray(gpuvm_sync.self, count: 5, limit: .max, "syncs")
            }
            #expect(throws: WireError.self) {
                try reader.readArray(gpuvm_op_record.self, count: .max, limit: .max, "ops")
            }
            do throws(WireError) {
                _ = try reader.readArray(gpuvm_sync.self, count: 4, limit: 3, "syncs")
                Issue.record("a count above the limit was accepted")
            } catch {
                #expect(error.code == .argListTooLong)
            }
            #expect(reader.remaining == 64)
            #expect(throws: WireError.self) { try reader.expectEnd() }
            #expect(throws: Never.self) {
                try reader.readArray(gpuvm_sync.self, count: 4, limit: 4, "syncs")
            }
            #expect(throws: Never.self) { try reader.expectEnd() }
            #expect(throws: WireError.self) { try reader.read(UInt64.self) }
            #expect(throws: WireError.self) { try reader.readText(count: 1, limit: 10) }
        }
    }

    @Test func textMustBeUTF8() {
        let bytes: [UInt8] = [0x41, 0xff]
        bytes.withUnsafeBytes { raw in
            var reader = MessageReader(raw)
            #expect(throws: WireError.self) { try reader.readText(count: 2, limit: 10) }
            #expect(throws: WireError.self) { try reader.readText(count: 1, limit: 0) }
            #expect((try? reader.readText(count: 1, limit: 1)) == "A")
        }
    }

    @Test func reservedFieldsAndFlags() {
        #expect(throws: Never.self) { try requireZero(UInt32(0), "reserved") }
        #expect(throws: WireError.self) { try requireZero(UInt64(1) << 63, "reserved") }
        #expect(throws: Never.self) { try requireFlags(3, known: 3, "flags") }
        #expect(throws: WireError.self) { try requireFlags(4, known: 3, "flags") }
    }
}
