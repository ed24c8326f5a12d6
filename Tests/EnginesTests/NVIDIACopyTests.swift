import Engines
import PageTables
import TestSupport
import Testing

/// The copy class: layouts, remapping, lines, faults.
@Suite struct NVIDIACopyTests {
    private let data = NVIDIAMachine.data

    private func numbered(_ count: Int, seed: UInt64) -> [UInt8] {
        var random = SplitMix64(seed: seed)
        return random.bytes(count)
    }

    /// Sets a block-linear side: width, height, depth, layer, origin.
    private func layout(
        _ writer: inout PushWriter, isSource: Bool, block: UInt32, width: UInt32, height: UInt32,
        depth: UInt32 = 1, layer: UInt32 = 0, x: UInt32 = 0, y: UInt32 = 0
    ) {
        writer.push(
            4, isSource ? 0x728 : 0x70c, block | 0x1000, width, height, depth, layer)
        writer.push(4, isSource ? 0x744 : 0x74c, x, y)
    }

    @Test func bytesOfAGOBAreWhereTheHardwareHasThem() throws {
        // One GOB from lines of 64 bytes: the first byte of each sector's line.
        let nvidia = try NVIDIAMachine()
        let lines = numbered(512, seed: 1)
        nvidia.setData(lines)
        var writer = PushWriter()
        layout(&writer, isSource: false, block: 0, width: 64, height: 8)
        writer.copy(
            from: data, pitch: 64, to: data + 512, length: 64, lines: 8,
            launch: 0x202 | PushWriter.Launch.sourcePitch)
        #expect(nvidia.run(writer) == .done)
        let gob = Array(nvidia.data()[512..<1024])
        let places: [(x: Int, y: Int, offset: Int)] = [
            (0, 0, 0), (15, 0, 15), (0, 1, 0x10), (0, 2, 0x20), (0, 3, 0x30), (16, 0, 0x40),
            (16, 3, 0x70), (0, 4, 0x80), (16, 4, 0xc0), (32, 0, 0x100), (48, 0, 0x140),
            (63, 7, 0x1ff), (33, 5, 0x191), (47, 2, 0x12f),
        ]
        for place in places {
            #expect(gob[place.offset] == lines[place.y * 64 + place.x], "\(place)")
        }
        #expect(gob.sorted() == lines.sorted())
        #expect(nvidia.engine.counters.copiedBytes == 512)
    }

    @Test func blocksFollowEachOther() throws {
        // A surface of 3 × 2 blocks of 1 × 2 GOBs: the first byte of each block.
        let nvidia = try NVIDIAMachine()
        let lines = numbered(160 * 20, seed: 2)
        nvidia.setData(lines)
        var writer = PushWriter()
        layout(&writer, isSource: false, block: 0x10, width: 160, height: 20)
        writer.copy(
            from: data, pitch: 160, to: data + 8192, length: 160, lines: 20,
            launch: 0x202 | PushWriter.Launch.sourcePitch)
        #expect(nvidia.run(writer) == .done)
        let tiled = Array(nvidia.data()[8192...])
        for (x, y, offset) in [
            (0, 0, 0), (64, 0, 1024), (128, 0, 2048), (0, 16, 3072), (64, 16, 4096),
            (128, 16, 5120), (0, 8, 512), (64, 8, 1536), (0, 19, 3072 + 0x30),
        ] {
            #expect(tiled[offset] == lines[y * 160 + x], "(\(x), \(y))")
        }
    }

    /// Block sizes, with the extent of a surface that has several of them.
    static let layouts: [(block: UInt32, width: UInt32, height: UInt32, layers: UInt32)] = [
        (0x000, 100, 13, 1), (0x010, 200, 40, 1), (0x040, 65, 130, 1), (0x100, 70, 20, 3),
        (0x210, 64, 33, 6), (0x001, 300, 20, 1), (0x112, 400, 30, 3),
    ]

    @Test(arguments: layouts.indices) func thereAndBackAgain(index: Int) throws {
        let (block, width, height, layers) = Self.layouts[index]
        let nvidia = try NVIDIAMachine(dataPages: 40)
        var random = SplitMix64(seed: UInt64(index))
        let size = 40 * 4096
        for round in 0..<6 {
            let bytes = numbered(size, seed: UInt64(round * 10 + index))
            nvidia.setData(bytes)
            var model = NVIDIAModel()
            for page in 0..<40 {
                model.pages[data / 4096 + UInt64(page)] = .memory(
                    Array(bytes[page * 4096..<(page + 1) * 4096]), readOnly: false)
            }
            let length = UInt32.random(in: 1...width, using: &random)
            let lines = UInt32.random(in: 1...min(height, 20), using: &random)
            let x = UInt32.random(in: 0...(width - length), using: &random)
            let y = UInt32.random(in: 0...(height - lines), using: &random)
            let layer = UInt32.random(in: 0..<layers, using: &random)
            var writer = PushWriter()
            for isSource in [true, false] {
                layout(
                    &writer, isSource: isSource, block: block, width: width, height: height,
                    depth: layers, layer: layer, x: x, y: y)
            }
            let tiles = data + 65536
            writer.copy(
                from: data + 3, pitch: length + 5, to: tiles, length: length, lines: lines,
                launch: 0x202 | PushWriter.Launch.sourcePitch)
            writer.copy(
                from: tiles, to: data + 20000, outPitch: length + 9, length: length, lines: lines,
                launch: 0x202 | PushWriter.Launch.destinationPitch)
            // The packed origin is the other way to say it.
            writer.push(4, 0x720, 7 | 1 << 16)
            layout(
                &writer, isSource: true, block: block, width: width, height: height, layer: layer)
            writer.push(4, 0x73c, x | y << 16)
            writer.copy(
                from: tiles, to: tiles + 49152, length: length, lines: lines,
                launch: PushWriter.Launch.tiled)
            #expect(nvidia.run(writer) == .done)
            // The model has the wide registers only.
            let expected = model.run(Self.withoutPackedOrigins(writer.dwords))
            #expect(expected == .done)
            let label = "round \(round), \(length)×\(lines) at (\(x), \(y), \(layer))"
            let now = nvidia.data()
            for page in 0..<40 {
                guard case .memory(let wanted, _)? = model.pages[data / 4096 + UInt64(page)] else {
                    continue
                }
                try #require(
                    Array(now[page * 4096..<(page + 1) * 4096]) == wanted, "page \(page), \(label)")
            }
            let copied = (0..<Int(lines)).allSatisfy { line in
                let from = 3 + line * Int(length + 5)
                let to = 20000 + line * Int(length + 9)
                return bytes[from..<from + Int(length)] == now[to..<to + Int(length)]
            }
            #expect(copied, "\(label)")
        }
    }

    /// Rewrites the packed origins (0720, 073c) as the pairs of registers that they set.
    private static func withoutPackedOrigins(_ dwords: [UInt32]) -> [UInt32] {
        var result: [UInt32] = []
        var at = 0
        while at < dwords.count {
            let header = dwords[at]
            let count = Int(header >> 16 & 0x1fff)
            let method = (header & 0xfff) * 4
            if method == 0x720 || method == 0x73c {
                let value = dwords[at + 1]
                result += [
                    PushWriter.header(1, 4, method == 0x720 ? 0x74c : 0x744, 2), value & 0xffff,
                    value >> 16,
                ]
            } else {
                result += dwords[at...at + count]
            }
            at += count + 1
        }
        return result
    }

    /// Every number and size of components, with random moves, on every pair of layouts.
    @Test(arguments: 1...4) func theRemapMatrix(size: UInt32) throws {
        var random = SplitMix64(seed: UInt64(size) * 77)
        for sources in 1...4 as ClosedRange<UInt32> {
            for targets in 1...4 as ClosedRange<UInt32> {
                for launch in [0x786, 0x706, 0x686, 0x606] as [UInt32] {
                    let nvidia = try NVIDIAMachine(dataPages: 12)
                    let bytes = numbered(12 * 4096, seed: random.next())
                    nvidia.setData(bytes)
                    var model = NVIDIAModel()
                    for page in 0..<12 {
                        model.pages[data / 4096 + UInt64(page)] = .memory(
                            Array(bytes[page * 4096..<(page + 1) * 4096]), readOnly: false)
                    }
                    var components = (size - 1) << 16 | (sources - 1) << 20 | (targets - 1) << 24
                    for target in 0..<4 as Range<UInt32> {
                        // 7 is not defined, but what is not there need not be.
                        let last: UInt32 = target < targets ? 6 : 7
                        components |= UInt32.random(in: 0...last, using: &random) << (4 * target)
                    }
                    var writer = PushWriter()
                    writer.push(
                        4, 0x700, UInt32.random(in: 0 ... .max, using: &random),
                        UInt32.random(in: 0 ... .max, using: &random), components)
                    layout(
                        &writer, isSource: true, block: 0x10, width: 23, height: 20, x: 1, y: 2)
                    layout(
                        &writer, isSource: false, block: 0x010, width: 23, height: 20, x: 3, y: 1)
                    writer.copy(
                        from: data, pitch: 400, to: data + 5 * 4096 + 512, outPitch: 391,
                        length: 19,
                        lines: 5, launch: launch)
                    let outcome = nvidia.run(writer)
                    let label = "components \(String(components, radix: 16)), launch \(launch)"
                    #expect(outcome == .done, "\(label)")
                    #expect(model.run(writer.dwords) == .done)
                    let now = nvidia.data()
                    for page in 0..<12 {
                        guard case .memory(let wanted, _)? = model.pages[data / 4096 + UInt64(page)]
                        else { continue }
                        try #require(
                            Array(now[page * 4096..<(page + 1) * 4096]) == wanted,
                            "page \(page), \(label)")
                    }
                    #expect(
                        nvidia.engine.counters.copiedBytes == UInt64(19 * 5 * size * targets))
                }
            }
        }
    }

    @Test func anUndefinedComponentIsRefused() throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.push(4, 0x708, 7)
        writer.copy(from: data, to: data, length: 1, launch: 0x786)
        #expect(nvidia.failure(writer)?.cause == .unsupportedValue)
    }

    /// Kinds of GOB and sizes that the class does not define.
    @Test(arguments: [0x0000, 0x2000, 0x1006, 0x1060, 0x1600] as [UInt32])
    func undefinedLayoutsAreRefused(block: UInt32) throws {
        for (method, launch) in [(0x70c, 0x282), (0x728, 0x302)] as [(UInt32, UInt32)] {
            let nvidia = try NVIDIAMachine()
            var writer = PushWriter()
            writer.push(4, method, block, 64, 8, 1, 0)
            writer.copy(from: data, to: data, length: 1, launch: launch)
            #expect(nvidia.failure(writer)?.cause == .unsupportedValue)
        }
    }

    @Test func fillsAsADriverWritesThem() throws {
        // 4 bytes × 1 component of constant A, in lines of 0x20000 bytes; then bytes and halves.
        let nvidia = try NVIDIAMachine(dataPages: 48)
        var writer = PushWriter()
        writer.push(4, 0x700, 0x4433_2211, 0x8877_6655, 4 | 3 << 16)
        writer.copy(
            from: 0xdead_0000, to: data, outPitch: 0x4000, length: 0x1000, lines: 3, launch: 0x786)
        writer.push(4, 0x708, 5)
        writer.copy(from: 0, to: data + 1, outPitch: 9, length: 3, lines: 2, launch: 0x786)
        writer.push(4, 0x708, 5 | 4 << 4 | 1 << 16 | 1 << 24)
        writer.copy(from: 0, to: data + 0x100, outPitch: 8, length: 2, lines: 2, launch: 0x786)
        #expect(nvidia.run(writer) == .done)
        let now = nvidia.data()
        #expect(
            Array(now[0..<14]) == [
                0x11, 0x55, 0x55, 0x55, 0x11, 0x22, 0x33, 0x44, 0x11, 0x22, 0x55, 0x55, 0x55, 0x22,
            ])
        #expect(
            Array(now[0x100..<0x111]) == [
                0x55, 0x66, 0x11, 0x22, 0x55, 0x66, 0x11, 0x22, 0x55, 0x66, 0x11, 0x22, 0x55, 0x66,
                0x11, 0x22, 0x11,
            ])
        #expect(Array(now[0x3ffd..<0x4002]) == [0x22, 0x33, 0x44, 0x11, 0x22])
        #expect(Array(now[0xbffc...0xc000]) == [0x11, 0x22, 0x33, 0x44, 0])
        #expect(nvidia.engine.counters.copiedBytes == 0x3000 * 4 + 6 + 16)
    }

    @Test func linesAndNothing() throws {
        let nvidia = try NVIDIAMachine()
        nvidia.setData(Array(1...32))
        var writer = PushWriter()
        // Without multi-line the count does not matter, without a length nothing does.
        writer.copy(
            from: data, pitch: 4, to: data + 64, outPitch: 4, length: 4, lines: 3, launch: 0x182)
        writer.copy(from: 0, to: 0, length: 0, lines: 5, launch: 0x2)
        writer.copy(from: 0, to: 0, length: 5, lines: 0, launch: 0x202)
        writer.copy(from: 0, to: 0, length: 5, lines: 5, launch: 0x380)
        writer.copy(
            from: data, pitch: 4, to: data + 96, outPitch: 6, length: 4, lines: 2, launch: 0x381)
        #expect(nvidia.run(writer) == .done)
        let now = nvidia.data()
        #expect(Array(now[64..<70]) == [1, 2, 3, 4, 0, 0])
        #expect(Array(now[96..<108]) == [1, 2, 3, 4, 0, 0, 5, 6, 7, 8, 0, 0])
        #expect(nvidia.engine.counters.launches == 5)
        #expect(nvidia.engine.counters.copiedBytes == 12)
    }

    @Test func sparseMemoryReadsZeroAndDropsWrites() throws {
        let nvidia = try NVIDIAMachine()
        nvidia.setData([UInt8](repeating: 9, count: 8192))
        try nvidia.machine.mapNull(data + 4096)
        var writer = PushWriter()
        layout(&writer, isSource: true, block: 0, width: 64, height: 8)
        layout(&writer, isSource: false, block: 0, width: 64, height: 8)
        writer.copy(from: data + 4096, to: data, outPitch: 32, length: 32, lines: 2, launch: 0x302)
        writer.copy(
            from: data + 512, pitch: 32, to: data + 4096, length: 32, lines: 2, launch: 0x282)
        writer.push(4, 0x708, 0x1_0000)
        writer.copy(
            from: data + 4096, to: data + 64, outPitch: 8, length: 2, lines: 1, launch: 0x782)
        #expect(nvidia.run(writer) == .done)
        let now = nvidia.data()
        #expect(now[0..<64].allSatisfy { $0 == 0 })
        #expect(now[64..<66].allSatisfy { $0 == 0 } && now[68] == 9)
        #expect(now[4096..<8192].allSatisfy { $0 == 9 })
    }

    /// Launch, whether the components are made anew.
    @Test(arguments: [0x382, 0x302, 0x282, 0x202, 0x782, 0x702, 0x682, 0x602] as [UInt32])
    func everyOperandFaults(launch: UInt32) throws {
        for (isSource, address, reason) in [
            (true, NVIDIAMachine.missing, FaultReason.notMapped(level: 0)),
            (false, NVIDIAMachine.missing, .notMapped(level: 0)),
            (false, NVIDIAMachine.readOnly, .readOnly),
        ] {
            let nvidia = try NVIDIAMachine()
            var writer = PushWriter()
            layout(&writer, isSource: true, block: 0, width: 64, height: 8)
            layout(&writer, isSource: false, block: 0, width: 64, height: 8)
            // Components change places, so that this is no plain copy.
            writer.push(4, 0x708, 1 | 0 << 4 | 1 << 20 | 1 << 24)
            writer.copy(
                from: isSource ? address : data, pitch: 64, to: isSource ? data : address,
                outPitch: 64, length: 8, lines: 2, launch: launch | 8)
            let failure = try #require(nvidia.failure(writer))
            #expect(failure.operand == (isSource ? .source : .destination))
            #expect(failure.fault?.address == address)
            #expect(failure.fault?.reason == reason)
            #expect(failure.fault?.access == (isSource ? .read : .write))
            #expect(failure.method?.method == 0x300)
            #expect(failure.command == NVIDIAMachine.code + UInt64(writer.dwords.count - 2) * 4)
            #expect(nvidia.engine.counters.semaphoreReleases == 0)
        }
    }

    @Test func aFaultInTheMiddleNamesItsPage() throws {
        let nvidia = try NVIDIAMachine(dataPages: 4)
        let end = data + 4 * 4096
        var writer = PushWriter()
        layout(&writer, isSource: false, block: 0x50, width: 64, height: 256)
        // The surface's second half is not there.
        writer.copy(from: data, pitch: 0, to: end - 8192, length: 64, lines: 256, launch: 0x282)
        let failure = try #require(nvidia.failure(writer))
        #expect(failure.fault?.address == end)
        #expect(nvidia.engine.counters.copiedBytes == 8192)
    }
}
