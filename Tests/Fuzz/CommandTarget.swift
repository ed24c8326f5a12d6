import CWireProtocol
import Engines
import WireProtocol

/// Command streams of the generic engine.
enum CommandTarget {
    // Built at the first input; the engine keeps nothing of a stream.
    private static let bench: (EngineBench, CommandEngine) = {
        do {
            let bench = try EngineBench()
            return (bench, CommandEngine(name: "copy0", mmu: bench.mmu))
        } catch {
            fuzzFailure("no engine: \(error)")
        }
    }()

    static func run(_ bytes: UnsafeRawBufferPointer) {
        var input = FuzzInput(bytes)
        let (bench, engine) = bench
        let limit = input.below(4) == 3 ? UInt64(input.byte()) * 4 : 0
        let second = input.below(4) == 3
        let dwords = stream(&input)
        var batches = [CommandBatch(address: EngineBench.code, bytes: limit)]
        if second { batches.append(CommandBatch(address: EngineBench.code + 64, bytes: 0)) }
        EngineRun.check(bench) { quantum, limit in
            bench.reset(dwords)
            let context = CommandContext(engine: engine, space: bench.space, batches: batches)
            let outcome = EngineRun.outcome(of: context, quantum, limit: limit)
            return EngineRun(outcome: outcome, data: bench.data())
        }
    }

    private static func stream(_ input: inout FuzzInput) -> [UInt32] {
        var writer = CommandWriter()
        var dwords: [UInt32] = []
        while !input.isEmpty, dwords.count < 4096 {
            let before = writer.dwords.count
            command(&input, &writer, at: UInt64(dwords.count) * 4)
            var added = Array(writer.dwords[before...])
            // Now and then a header or an operand that no writer writes.
            if added.isEmpty {
                added = [input.integer()]
            } else if input.isRare(16) {
                added[input.below(added.count)] = input.integer()
            }
            dwords += added
        }
        return dwords
    }

    private static func address(_ input: inout FuzzInput) -> UInt64 {
        switch input.byte() {
        case 0..<200: EngineBench.data + UInt64(input.integer(UInt16.self)) % 0xc100
        case 200..<220: EngineBench.data + UInt64(input.integer(UInt16.self) & 0xfff8) % 0xc100
        case 220..<230: EngineBench.code + UInt64(input.integer(UInt16.self)) % 0x4100
        case 230..<240: UInt64.max - UInt64(input.byte())
        default: input.value()
        }
    }

    private static func size(_ input: inout FuzzInput) -> UInt64 {
        input.isRare(8) ? input.value() : UInt64(input.integer(UInt16.self)) % 9000
    }

    private static func command(
        _ input: inout FuzzInput, _ writer: inout CommandWriter, at offset: UInt64
    ) {
        switch input.byte() % 16 {
        case 0:
            writer.copy(from: address(&input), to: address(&input), bytes: size(&input))
        case 1:
            // Overlapping, a few bytes apart.
            let from = address(&input)
            writer.copy(
                from: from, to: from &+ UInt64(input.byte() % 40) &- 20, bytes: size(&input))
        case 2, 3:
            writer.copyPitched(
                from: address(&input), sourcePitch: UInt32(input.integer(UInt16.self)),
                to: address(&input), destinationPitch: UInt32(input.integer(UInt16.self)),
                lineBytes: UInt32(input.byte()),
                lines: input.isRare(16) ? input.dword() : UInt32(input.byte()))
        case 4: writer.fill(address(&input), bytes: size(&input), pattern: input.integer())
        case 5: writer.store(address(&input) & ~3, dword: input.integer())
        case 6: writer.store(address(&input) & ~7, qword: input.integer())
        case 7, 8:
            let compare = input.pick(SemaphoreCompare.allCases)
            writer.waitSemaphore(
                at: address(&input) & ~7, compare, value: input.value(), mask: input.value())
        case 9:
            let compare = input.pick(SemaphoreCompare.allCases)
            writer.waitSemaphore32(
                at: address(&input), compare, value: input.dword(), mask: input.dword())
        case 10: writer.releaseSemaphore(at: address(&input), value: input.integer())
        case 11: writer.releaseSemaphore32(at: address(&input) & ~3, value: input.integer())
        case 12: writer.timestamp(at: address(&input) & ~7)
        case 13: writer.nop(dwords: UInt16(input.byte()))
        case 14:
            let ahead = offset + UInt64(input.byte()) * 4
            writer.jump(
                to: EngineBench.code + (input.isRare(8) ? UInt64(input.byte()) : ahead))
        default:
            if input.isRare(4) { writer.end() }
        }
    }
}
