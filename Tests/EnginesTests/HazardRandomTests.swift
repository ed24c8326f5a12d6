import Engines
import PageTables
import TestSupport
import Testing

/// Missing barriers found in random launches, against sets of bytes.
@Suite struct HazardRandomTests {
    /// One side of a launch, as registers, and its bytes one by one.
    struct Side {
        var address: UInt64
        var pitch: UInt32 = 0
        /// Block size, width, height, depth, layer; nil for pitch.
        var block: [UInt32]?
        var x: UInt32 = 0
        var y: UInt32 = 0

        func bytes(_ length: UInt32, _ lines: UInt32) -> [UInt64] {
            var bytes: [UInt64] = []
            for line in 0..<UInt64(lines) {
                for column in 0..<UInt64(length) {
                    guard let block else {
                        bytes.append(address + line * UInt64(pitch) + column)
                        continue
                    }
                    bytes.append(
                        address
                            + NVIDIAModel.offset(
                                x: UInt64(x) + column, y: UInt64(y) + line, z: UInt64(block[4]),
                                block: block[0], widthBytes: UInt64(block[1]),
                                height: UInt64(block[2])))
                }
            }
            return bytes
        }

        func write(to writer: inout PushWriter, isSource: Bool) {
            guard let block else { return }
            writer.push(
                4, isSource ? 0x728 : 0x70c, block[0] | 0x1000, block[1], block[2], block[3],
                block[4])
            writer.push(4, isSource ? 0x744 : 0x74c, x, y)
        }
    }

    /// What has been read and written since the last point of order.
    struct Model {
        var reads: Set<UInt64> = []
        var writes: Set<UInt64> = []
        var hasPipelined = false
        var hazards: UInt64 = 0

        mutating func order() {
            reads = []
            writes = []
            hasPipelined = false
        }

        mutating func launch(_ source: [UInt64], _ destination: [UInt64], isPipelined: Bool) {
            if isPipelined { hasPipelined = true } else if hasPipelined { order() }
            if !writes.isDisjoint(with: source) || !writes.isDisjoint(with: destination)
                || isPipelined && !reads.isDisjoint(with: destination)
            {
                hazards += 1
            }
            reads.formUnion(source)
            writes.formUnion(destination)
        }
    }

    /// 64 KiB: pitch surfaces in the first half, one block-linear surface of two layers in the
    /// second; or everything everywhere.
    private func side(
        _ random: inout SplitMix64, _ length: UInt32, _ lines: UInt32, isMixed: Bool
    ) -> Side {
        let data = NVIDIAMachine.data
        if random.below(3) == 0 {
            let block: [UInt32] = [0x10, 200, 60, 2, UInt32(random.below(2))]
            return Side(
                address: data + (isMixed ? random.below(2) * 0x8000 : 0x8000), block: block,
                x: UInt32(random.below(UInt64(200 - length + 1))),
                y: UInt32(random.below(UInt64(60 - lines + 1))))
        }
        let pitch: UInt32 = [0, 96, 160, 256][Int(random.below(4))]
        let span = pitch * (lines - 1) + length
        return Side(
            address: data + random.below(UInt64((isMixed ? 0x8000 : 0x1000) - span)),
            pitch: pitch)
    }

    /// A job of launches and barriers, and what the model makes of it.
    private func job(seed: UInt64, isMixed: Bool) -> (writer: PushWriter, hazards: UInt64) {
        var random = SplitMix64(seed: seed)
        var writer = PushWriter()
        var model = Model()
        writer.bindAll()
        // Some drivers have one kind of launch only.
        let pipelining = random.below(3)
        for _ in 0..<4 + random.below(24) {
            switch random.below(12) {
            case 0:
                writer.push(0, 0x110, 0)
                model.order()
            case 1:
                writer.push(4, 0x50, 0)
                model.order()
            case 2:
                // Nothing, non-pipelined.
                writer.push(4, 0x418, 0, 0)
                writer.push(4, 0x300, 0x586)
                model.order()
            default:
                let length = UInt32(1 + random.below(90))
                let lines = UInt32(1 + random.below(5))
                let source = side(&random, length, lines, isMixed: isMixed)
                let destination = side(&random, length, lines, isMixed: isMixed)
                let isPipelined =
                    pipelining == 2 ? random.below(2) == 0 : pipelining == 1
                var launch: UInt32 = 0x200 | (isPipelined ? 1 : 2)
                if source.block == nil { launch |= PushWriter.Launch.sourcePitch }
                if destination.block == nil { launch |= PushWriter.Launch.destinationPitch }
                source.write(to: &writer, isSource: true)
                destination.write(to: &writer, isSource: false)
                writer.copy(
                    from: source.address, pitch: source.pitch, to: destination.address,
                    outPitch: destination.pitch, length: length, lines: lines, launch: launch)
                model.launch(
                    source.bytes(length, lines), destination.bytes(length, lines),
                    isPipelined: isPipelined)
            }
        }
        return (writer, model.hazards)
    }

    @Test(arguments: 0..<16) func whatIsComparableIsFoundExactly(part: Int) throws {
        let nvidia = try NVIDIAMachine()
        var expected: UInt64 = 0
        for round in 0..<12 {
            let seed = UInt64(part * 1000 + round)
            let job = job(seed: seed, isMixed: false)
            expected += job.hazards
            #expect(nvidia.run(job.writer) == .done, "seed \(seed)")
            #expect(nvidia.engine.counters.missingBarriers == expected, "seed \(seed)")
        }
        #expect(expected > 0)
    }

    @Test(arguments: 0..<8) func nothingIsFoundThatIsNotThere(part: Int) throws {
        let nvidia = try NVIDIAMachine()
        var found: UInt64 = 0
        for round in 0..<12 {
            let seed = UInt64(1_000_000 + part * 1000 + round)
            let job = job(seed: seed, isMixed: true)
            #expect(nvidia.run(job.writer) == .done, "seed \(seed)")
            let now = nvidia.engine.counters.missingBarriers
            #expect(now - found <= job.hazards, "seed \(seed)")
            found = now
        }
    }
}

extension SplitMix64 {
    fileprivate mutating func below(_ bound: UInt64) -> UInt64 { next() % bound }
}
