import Engines
import PageTables
import TestSupport
import Testing

/// Random push buffers on the engine, over real page tables, and on the naive model.
@Suite struct NVIDIARandomTests {
    private static let pages: UInt64 = 24

    static let quanta = [
        EngineQuantum(), EngineQuantum(commands: 1, bytes: 1, chunkBytes: 1),
        EngineQuantum(commands: 2, bytes: 900, chunkBytes: 300),
        EngineQuantum(commands: 5, bytes: 5000, chunkBytes: 4096),
    ]

    private struct Stream {
        var random: SplitMix64
        var writer = PushWriter()
        let data = NVIDIAMachine.data

        mutating func number(_ range: ClosedRange<UInt32>) -> UInt32 {
            UInt32.random(in: range, using: &random)
        }

        /// Somewhere in one half of the data: sources and destinations do not overlap.
        mutating func address(_ half: UInt64, _ alignment: UInt64) -> UInt64 {
            let span = NVIDIARandomTests.pages / 2 * 4096
            let offset = UInt64(number(0...UInt32(span - 1))) / alignment * alignment
            // Rarely past the end.
            return data + half * span + offset + (number(0...80) == 0 ? 4 * span : 0)
        }

        mutating func layout(_ isSource: Bool) {
            writer.push(
                4, isSource ? 0x728 : 0x70c,
                0x1000 | number(0...1) | number(0...2) << 4 | number(0...1) << 8,
                number(1...150), number(1...30), 2, number(0...1))
            writer.push(4, isSource ? 0x744 : 0x74c, number(0...40), number(0...10))
        }

        mutating func copy() {
            if number(0...2) == 0 { layout(true) }
            if number(0...2) == 0 { layout(false) }
            if number(0...3) == 0 {
                var components = number(0...3) << 16 | number(0...3) << 20 | number(0...3) << 24
                for component in 0..<4 as Range<UInt32> {
                    components |= number(0...6) << (4 * component)
                }
                writer.push(4, 0x700, number(0 ... .max), number(0 ... .max), components)
            }
            let semaphore = address(1, 16)
            writer.push(
                4, 0x240, UInt32(semaphore >> 32), UInt32(truncatingIfNeeded: semaphore),
                number(0...9))
            let (from, to) = (address(0, 1), address(1, 1))
            // The registers before stay in force, whatever they are.
            writer.push(4, 0x404, UInt32(truncatingIfNeeded: from))
            writer.push(4, 0x40c, UInt32(truncatingIfNeeded: to))
            if number(0...2) == 0 { writer.push(4, 0x410, number(0...300), number(0...300)) }
            writer.push(op: 5, 4, 0x418, [number(0...90), number(0...6)])
            let launch =
                number(0...2) | number(0...1) << 2 | number(0...7) / 6 << 3 | number(0...3) << 7
                | number(0...3) << 9
            if launch & 0x400 != 0 || number(0...1) == 0 {
                writer.push(4, 0x300, launch)
            } else {
                writer.immediate(4, 0x300, launch)
            }
        }

        mutating func upload() {
            let subchannel = number(0...2)
            let to = address(1, 1)
            let (length, lines) = (number(0...9), number(0...3))
            writer.push(
                subchannel, 0x180, length, lines, UInt32(to >> 32),
                UInt32(truncatingIfNeeded: to), number(0...20), number(0...1) << 4,
                number(1...100), number(1...20), 1, 0, number(0...20), number(0...5),
                number(0...1))
            let dwords = Int((length * lines + 3) / 4)
            writer.push(
                op: 3, subchannel, 0x1b4, (0..<dwords).map { _ in number(0 ... .max) })
        }

        mutating func semaphore() {
            switch number(0...9) {
            case 0: writer.semaphore(address(1, 4), number(0...2), 1)
            case 1...4: writer.semaphore(address(1, 4), number(0 ... .max), 2 | 1 << 24)
            case 5: writer.semaphore(address(1, 4), 0, 4)
            default:
                writer.report(number(0...1), address(1, 4), number(0 ... .max), 1 << 28)
            }
        }

        mutating func build() {
            writer.bindAll()
            writer.address(4, 0x400, data)
            writer.address(4, 0x408, data)
            writer.push(4, 0x410, 100, 120, 16, 2)
            layout(true)
            layout(false)
            for _ in 0..<number(1...14) {
                switch number(0...12) {
                case 0...6: copy()
                case 7, 8: upload()
                case 9, 10: semaphore()
                case 11:
                    writer.dwords.append(0)
                    writer.immediate(0, 0x110, 0)
                default:
                    if number(0...3) == 0 { writer.push(3, 0x8dc, 1) }
                }
            }
        }
    }

    @Test(arguments: quanta.indices) func engineAndModelAgree(quantumIndex: Int) throws {
        let quantum = Self.quanta[quantumIndex]
        var outcomes: [String: Int] = [:]
        for seed in 1...50 as ClosedRange<UInt64> {
            let nvidia = try NVIDIAMachine(
                dataPages: Self.pages, run: seed % 3 == 0 ? 4096 : 1 << 40)
            var random = SplitMix64(seed: seed)
            var model = NVIDIAModel()
            var bytes: [UInt8] = []
            for page in 0..<Self.pages {
                let content = random.bytes(4096)
                bytes += content
                let number = NVIDIAMachine.data / 4096 + page
                model.pages[number] = .memory(content, readOnly: false)
                switch Int.random(in: 0..<30, using: &random) {
                case 0:
                    nvidia.machine.unmap(number * 4096)
                    model.pages[number] = nil
                case 1, 2:
                    try nvidia.machine.mapNull(number * 4096)
                    model.pages[number] = .null
                case 3:
                    nvidia.machine.unmap(number * 4096)
                    try nvidia.machine.map(
                        number * 4096, frame: NVIDIAMachine.codePages + page, readOnly: true)
                    model.pages[number] = .memory(content, readOnly: true)
                default: break
                }
            }
            nvidia.setData(bytes)
            var stream = Stream(random: random)
            stream.build()
            let expected = model.run(stream.writer.dwords)
            let context = nvidia.context(stream.writer.dwords)
            let outcome = finish(context, quantum)
            let label = "seed \(seed), quantum \(quantum), engine \(String(describing: outcome))"
            switch expected {
            case .done: try #require(outcome == .done, "\(label)")
            case .blocked: try #require(outcome == .blocked, "\(label)")
            case .fault(let address, let isWrite):
                let fault = context.failure?.fault
                try #require(fault?.address == address, "\(label), model \(expected)")
                try #require((fault?.access == .write) == isWrite, "\(label)")
            case .refused:
                try #require(context.failure != nil && context.failure?.fault == nil, "\(label)")
            }
            outcomes["\(expected)".prefix(5).description, default: 0] += 1
            let now = nvidia.data()
            for page in 0..<Self.pages {
                let at = Int(page) * 4096
                let number = NVIDIAMachine.data / 4096 + page
                guard case .memory(let wanted, _)? = model.pages[number] else { continue }
                // Where a copy faults, the engine may have moved less of its last piece.
                guard expected == .done || expected == .blocked else { continue }
                try #require(Array(now[at..<at + 4096]) == wanted, "page \(page): \(label)")
            }
        }
        #expect(outcomes.count == 4, "\(outcomes)")
    }

    @Test func anyQuantumGivesTheSame() throws {
        // What precedes a fault is part of it.
        for seed in 100...120 as ClosedRange<UInt64> {
            var results: [[UInt8]] = []
            var outcomes: [EngineFailure?] = []
            for quantum in Self.quanta {
                let nvidia = try NVIDIAMachine(dataPages: Self.pages)
                var random = SplitMix64(seed: seed)
                nvidia.setData(random.bytes(Int(Self.pages) * 4096))
                nvidia.machine.unmap(NVIDIAMachine.data + (seed % Self.pages) * 4096)
                var stream = Stream(random: random)
                stream.build()
                let context = nvidia.context(stream.writer.dwords)
                _ = finish(context, quantum)
                results.append(nvidia.data())
                var failure = context.failure
                // Address spaces have numbers of their own.
                if case .fault(var fault)? = failure?.cause {
                    fault.space = 0
                    failure?.cause = .fault(fault)
                }
                outcomes.append(failure)
            }
            for index in 1..<results.count {
                #expect(results[index] == results[0], "seed \(seed), \(Self.quanta[index])")
                #expect(outcomes[index] == outcomes[0], "seed \(seed), \(Self.quanta[index])")
            }
        }
    }
}
