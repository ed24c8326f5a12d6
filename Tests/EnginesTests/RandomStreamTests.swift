import Engines
import PageTables
import TestSupport
import Testing
import WireProtocol

/// Random command streams on the engine, over real page tables, and on the naive interpreter.
@Suite struct RandomStreamTests {
    private static let data: UInt64 = 0x1_0000_0000
    private static let dataPages: UInt64 = 12
    /// Batches live on two pages that are not neighbours in memory, so that commands cross.
    private static let code: UInt64 = 0x7fff_ffff_0000
    private static let codePages: UInt64 = 4

    static let quanta = [
        EngineQuantum(), EngineQuantum(commands: 1, bytes: 1, chunkBytes: 1),
        EngineQuantum(commands: 1, bytes: 700, chunkBytes: 13),
        EngineQuantum(commands: 3, bytes: 5000, chunkBytes: 4096),
        EngineQuantum(commands: 100, bytes: 1 << 20, chunkBytes: 333),
    ]

    private struct Layout {
        var model = NaiveInterpreter()
        var random: SplitMix64

        mutating func build(_ machine: Machine) throws {
            let pages = RandomStreamTests.dataPages
            let frames = (0..<pages).shuffled(using: &random)
            for page in 0..<pages {
                let address = RandomStreamTests.data + page * 4096
                let frame = frames[Int(page)]
                switch Int.random(in: 0..<20, using: &random) {
                case 0: break  // not mapped
                case 1, 2:
                    try machine.mapNull(address)
                    model.pages[address / 4096] = .null
                case 3:
                    try machine.map(address, frame: frame, readOnly: true)
                    model.pages[address / 4096] = .memory(frame: frame, readOnly: true)
                default:
                    try machine.map(address, frame: frame)
                    model.pages[address / 4096] = .memory(frame: frame, readOnly: false)
                }
                var bytes = [UInt8](repeating: 0, count: 4096)
                for index in bytes.indices {
                    bytes[index] = UInt8.random(in: 0...255, using: &random)
                }
                model.frames[frame] = bytes
                machine.host(frame: frame).copyMemory(from: bytes, byteCount: 4096)
            }
            for page in 0..<RandomStreamTests.codePages {
                let address = RandomStreamTests.code + page * 4096
                let frame = pages + RandomStreamTests.codePages - 1 - page
                try machine.map(address, frame: frame, readOnly: true)
                model.pages[address / 4096] = .memory(frame: frame, readOnly: true)
                model.frames[frame] = [UInt8](repeating: 0, count: 4096)
            }
        }

        mutating func address(_ alignment: UInt64 = 1) -> UInt64 {
            // Rarely past either end.
            let span = RandomStreamTests.dataPages * 4096
            let offset = UInt64.random(in: 0..<span, using: &random)
            let shift: UInt64 = Int.random(in: 0..<200, using: &random) == 0 ? span : 0
            return (RandomStreamTests.data + offset + shift) / alignment * alignment
        }

        mutating func size() -> UInt64 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0: UInt64.random(in: 0...9000, using: &random)
            case 1...3: UInt64.random(in: 0...9, using: &random)
            default: UInt64.random(in: 0...300, using: &random)
            }
        }

        mutating func command(_ writer: inout CommandWriter) {
            switch Int.random(in: 0..<12, using: &random) {
            case 0...2: writer.copy(from: address(), to: address(), bytes: size())
            case 3:
                // Overlapping, mostly at a short distance.
                let from = address()
                let distance = UInt64.random(in: 0...20, using: &random)
                writer.copy(
                    from: from, to: Bool.random(using: &random) ? from + distance : from - distance,
                    bytes: UInt64.random(in: 0...200, using: &random))
            case 4, 5:
                let line = UInt32.random(in: 0...70, using: &random)
                writer.copyPitched(
                    from: address(), sourcePitch: pitch(line), to: address(),
                    destinationPitch: pitch(line), lineBytes: line,
                    lines: UInt32.random(in: 0...9, using: &random))
            case 6, 7:
                writer.fill(
                    address(), bytes: size(), pattern: UInt32.random(in: 0 ... .max, using: &random)
                )
            case 8:
                writer.store(address(4), dword: UInt32.random(in: 0 ... .max, using: &random))
                writer.store(address(8), qword: UInt64.random(in: 0 ... .max, using: &random))
            case 9:
                writer.releaseSemaphore(
                    at: address(8), value: UInt64.random(in: 0 ... .max, using: &random))
                writer.releaseSemaphore32(
                    at: address(4), value: UInt32.random(in: 0 ... .max, using: &random))
            case 10:
                if Int.random(in: 0..<20, using: &random) == 0 {
                    writer.waitSemaphore(
                        at: address(8), .greaterOrEqual,
                        value: UInt64.random(in: 0 ... .max, using: &random))
                } else {
                    writer.waitSemaphore32(at: address(4), .greaterOrEqual, value: 0)
                    writer.waitSemaphore(
                        at: address(8), .equal, value: 0x100, mask: UInt64(0))
                }
            default: writer.nop(dwords: UInt16.random(in: 1...9, using: &random))
            }
        }

        mutating func pitch(_ line: UInt32) -> UInt32 {
            Int.random(in: 0..<3, using: &random) == 0
                ? line : UInt32.random(in: 0...400, using: &random)
        }

        /// A stream that jumps once, from somewhere in the first two pages into the last two.
        mutating func writeCode(_ machine: Machine) -> UInt64 {
            let code = RandomStreamTests.code
            let start = code + 4 * UInt64.random(in: 900..<1024, using: &random)
            let target = code + 8192 + 4 * UInt64.random(in: 900..<1024, using: &random)
            var first = CommandWriter()
            for _ in 0..<Int.random(in: 0..<12, using: &random) { command(&first) }
            first.jump(to: target)
            place(first.dwords, start, machine)
            var second = CommandWriter()
            for _ in 0..<Int.random(in: 0..<12, using: &random) { command(&second) }
            // Now and then no END: the zeros behind it are no commands.
            if Int.random(in: 0..<8, using: &random) != 0 { second.end() }
            place(second.dwords, target, machine)
            return start
        }

        private mutating func place(_ dwords: [UInt32], _ address: UInt64, _ machine: Machine) {
            for (index, dword) in dwords.enumerated() {
                let at = address + UInt64(index) * 4
                guard case .memory(let frame, _)? = model.pages[at / 4096] else {
                    Issue.record("a stream left its pages")
                    return
                }
                machine.write([dword], frame: frame, offset: at % 4096)
                for byte in 0..<4 {
                    model.frames[frame]![Int(at % 4096) + byte] = UInt8(
                        truncatingIfNeeded: dword >> (8 * UInt32(byte)))
                }
            }
        }
    }

    @Test(arguments: quanta.indices) func engineAndModelAgree(quantumIndex: Int) throws {
        let quantum = Self.quanta[quantumIndex]
        var outcomes: [String: Int] = [:]
        for seed in 1...60 as ClosedRange<UInt64> {
            let machine = try Machine(
                frames: 16, run: seed % 3 == 0 ? 4096 : 1 << 40,
                tlbEntries: seed % 2 == 0 ? 4 : 64)
            var layout = Layout(random: SplitMix64(seed: seed))
            try layout.build(machine)
            let start = layout.writeCode(machine)
            let expected = layout.model.run(start)
            let context = machine.context(start)
            let outcome = finish(context, quantum)
            let label = "seed \(seed), quantum \(quantum), engine \(String(describing: outcome))"
            // The first difference ends the run: what follows it says nothing more.
            switch expected {
            case .done: try #require(outcome == .done, "\(label)")
            case .blocked: try #require(outcome == .blocked, "\(label)")
            case .fault(let fault):
                let record = context.failure
                try #require(record?.fault?.address == fault.address, "\(label)")
                try #require((record?.fault?.access == .write) == fault.isWrite, "\(label)")
                try #require(record?.command == fault.command, "\(label)")
            case .invalid(let command):
                try #require(context.failure?.command == command, "\(label)")
                try #require(context.failure?.fault == nil, "\(label)")
            }
            outcomes["\(expected)".prefix(5).description, default: 0] += 1
            for (frame, bytes) in layout.model.frames {
                let same = machine.bytes(frame: frame, count: 4096) == bytes
                try #require(same, "frame \(frame) differs: \(label)")
            }
        }
        // The generator reaches every kind of end.
        #expect(outcomes.count == 4, "\(outcomes)")
    }
}
