/// What a push buffer does, byte by byte and register by register over dictionaries: the model that
/// the NVIDIA engine is compared with. Written from the class headers' tables alone.
struct NVIDIAModel {
    enum Page {
        case memory([UInt8], readOnly: Bool)
        case null
    }

    enum Outcome: Equatable {
        case done
        case blocked
        case fault(address: UInt64, isWrite: Bool)
        case refused
    }

    private enum Stop: Error {
        case fault(UInt64, Bool)
        case blocked
        case refused
    }

    /// By page number.
    var pages: [UInt64: Page] = [:]
    private var bound: [UInt32: UInt32] = [4: 0xc5b5]
    private var registers: [UInt32: [UInt32: UInt32]] = [:]
    private var uploadPlaces: [UInt32: [UInt64]] = [:]

    init() {}

    // MARK: memory

    func read(_ address: UInt64) throws -> UInt8 {
        switch pages[address / 4096] {
        case .memory(let bytes, _)?: return bytes[Int(address % 4096)]
        case .null?: return 0
        case nil: throw Stop.fault(address, false)
        }
    }

    mutating func write(_ address: UInt64, _ byte: UInt8) throws {
        switch pages[address / 4096] {
        case .memory(var bytes, false)?:
            pages[address / 4096] = .null
            bytes[Int(address % 4096)] = byte
            pages[address / 4096] = .memory(bytes, readOnly: false)
        case .null?: break
        default: throw Stop.fault(address, true)
        }
    }

    private func number(_ address: UInt64, _ count: UInt64) throws -> UInt64 {
        var value: UInt64 = 0
        for index in 0..<count { value |= UInt64(try read(address + index)) << (8 * index) }
        return value
    }

    private mutating func store(_ address: UInt64, _ value: UInt64, _ count: UInt64) throws {
        for index in 0..<count {
            try write(address + index, UInt8(truncatingIfNeeded: value >> (8 * index)))
        }
    }

    // MARK: block-linear

    /// Sectors of 16 bytes by 2 lines in a GOB, by column and by pair of lines.
    static let sectors: [[UInt64]] = [
        [0, 2, 8, 10], [1, 3, 9, 11], [4, 6, 12, 14], [5, 7, 13, 15],
    ]

    /// The offset of byte (x, y) of layer z, by counting blocks, GOBs and sectors.
    static func offset(
        x: UInt64, y: UInt64, z: UInt64, block: UInt32, widthBytes: UInt64, height: UInt64
    ) -> UInt64 {
        let gobsWide: UInt64 = [1, 2, 4, 8, 16, 32][Int(block % 16)]
        let gobsHigh: UInt64 = [1, 2, 4, 8, 16, 32][Int(block / 16 % 16)]
        let gobsDeep: UInt64 = [1, 2, 4, 8, 16, 32][Int(block / 256 % 16)]
        let across = (widthBytes + 64 * gobsWide - 1) / (64 * gobsWide)
        let down = (height + 8 * gobsHigh - 1) / (8 * gobsHigh)
        var blockIndex = z / gobsDeep * across * down
        blockIndex += y / (8 * gobsHigh) * across
        blockIndex += x / (64 * gobsWide)
        var gob = z % gobsDeep * gobsHigh * gobsWide
        gob += y / 8 % gobsHigh * gobsWide
        gob += x / 64 % gobsWide
        let sector = sectors[Int(y % 8 / 2)][Int(x % 64 / 16)]
        return (blockIndex * gobsWide * gobsHigh * gobsDeep + gob) * 512 + sector * 32 + y % 2 * 16
            + x % 16
    }

    // MARK: methods

    private func get(_ classID: UInt32, _ method: UInt32) -> UInt32 {
        registers[classID]?[method] ?? 0
    }

    private func pair(_ classID: UInt32, _ method: UInt32, _ upper: UInt32) -> UInt64 {
        UInt64(get(classID, method) & upper) << 32 | UInt64(get(classID, method + 4))
    }

    mutating func run(_ dwords: [UInt32]) -> Outcome {
        do {
            var at = 0
            while at < dwords.count {
                let header = dwords[at]
                at += 1
                if header == 0 { continue }
                let count = Int(header >> 16 & 0x1fff)
                let subchannel = header >> 13 & 7
                let first = (header & 0xfff) * 4
                switch header >> 29 {
                case 1, 3, 5:
                    for index in 0..<count {
                        let step = [1: index, 3: 0, 5: min(index, 1)][Int(header >> 29)] ?? 0
                        try method(subchannel, first + UInt32(step) * 4, dwords[at])
                        at += 1
                    }
                case 4: try method(subchannel, first, UInt32(count))
                default: throw Stop.refused
                }
            }
            return .done
        } catch let stop as Stop {
            switch stop {
            case .fault(let address, let isWrite):
                return .fault(address: address, isWrite: isWrite)
            case .blocked: return .blocked
            case .refused: return .refused
            }
        } catch {
            return .refused
        }
    }

    private mutating func method(
        _ subchannel: UInt32, _ method: UInt32, _ value: UInt32
    ) throws {
        if method == 0 {
            guard [0xc597, 0xc5c0, 0xc5b5, 0xa140, 0x902d].contains(value & 0xffff) else {
                throw Stop.refused
            }
            bound[subchannel] = value & 0xffff
            return
        }
        let classID = method < 0x100 ? 0 : (bound[subchannel] ?? 1)
        if classID == 1 { throw Stop.refused }
        registers[classID, default: [:]][method] = value
        switch (classID, method) {
        case (0, 0x1c): try hostSemaphore(value)
        case (0xc5b5, 0x300): try launch(value)
        case (0xc597, 0x1b0c), (0xc5c0, 0x1b0c): try report(classID, value)
        case (0xc597, 0x1b0), (0xc5c0, 0x1b0), (0xa140, 0x1b0): try launchUpload(classID, value)
        case (0xc597, 0x1b4), (0xc5c0, 0x1b4), (0xa140, 0x1b4): try upload(classID, value)
        case (0xc597, 0x1618), (0xc5c0, 0x2bc), (0x902d, 0x8dc): throw Stop.refused
        default: break
        }
    }

    private mutating func hostSemaphore(_ value: UInt32) throws {
        let address = pair(0, 0x10, 0xff)
        let payload = UInt64(get(0, 0x18))
        switch value & 0x1f {
        case 1: if try number(address, 4) != payload { throw Stop.blocked }
        case 4:
            let ahead = UInt32(truncatingIfNeeded: try number(address, 4)) &- UInt32(payload)
            if ahead >= 0x8000_0000 { throw Stop.blocked }
        case 2: try store(address, payload, value & 0x100_0000 == 0 ? 8 : 4)
        default: throw Stop.refused
        }
    }

    private mutating func report(_ classID: UInt32, _ value: UInt32) throws {
        let address = pair(classID, 0x1b00, 0xff)
        let payload = value & 3 == 2 ? 0 : UInt64(get(classID, 0x1b08))
        try store(address, payload, value & 0x1000_0000 == 0 ? 8 : 4)
    }

    private mutating func launch(_ value: UInt32) throws {
        if value & 3 != 0 { try copy(value) }
        switch value >> 3 & 3 {
        case 1: try store(pair(0xc5b5, 0x240, 0x1ffff), UInt64(get(0xc5b5, 0x248)), 4)
        case 2: try store(pair(0xc5b5, 0x240, 0x1ffff), UInt64(get(0xc5b5, 0x248)), 8)
        default: break
        }
    }

    private func place(
        _ isPitch: Bool, _ base: UInt32, _ block: UInt32, _ origin: UInt32, _ x: UInt64,
        _ y: UInt64, _ element: UInt64
    ) -> UInt64 {
        let address = pair(0xc5b5, base, 0x1ffff)
        if isPitch {
            let pitch = get(0xc5b5, base == 0x400 ? 0x410 : 0x414)
            return address + y * UInt64(pitch) + x
        }
        return address
            + Self.offset(
                x: x + UInt64(get(0xc5b5, origin)) * element,
                y: y + UInt64(get(0xc5b5, origin + 4)), z: UInt64(get(0xc5b5, block + 16)),
                block: get(0xc5b5, block), widthBytes: UInt64(get(0xc5b5, block + 4)) * element,
                height: UInt64(get(0xc5b5, block + 8)))
    }

    private mutating func copy(_ value: UInt32) throws {
        let length = UInt64(get(0xc5b5, 0x418))
        let lines = value & 0x200 == 0 ? 1 : UInt64(get(0xc5b5, 0x41c))
        let remap = get(0xc5b5, 0x708)
        let isRemapped = value & 0x400 != 0
        let size = isRemapped ? UInt64(remap >> 16 & 3) + 1 : 1
        let sources = isRemapped ? UInt64(remap >> 20 & 3) + 1 : 1
        let targets = isRemapped ? UInt64(remap >> 24 & 3) + 1 : 1
        let selectors = (0..<targets).map { isRemapped ? UInt64(remap >> UInt32(4 * $0) & 7) : 0 }
        // Elements that stay as they are are bytes.
        let isPlain = sources == targets && selectors == Array(0..<targets)
        let unit = isPlain ? sources * size : 1
        for y in 0..<lines {
            for x in 0..<length * unit {
                if isPlain {
                    let byte = try read(
                        place(value & 0x80 != 0, 0x400, 0x728, 0x744, x, y, sources * size))
                    try write(
                        place(value & 0x100 != 0, 0x408, 0x70c, 0x74c, x, y, targets * size), byte)
                    continue
                }
                var element: [UInt8] = []
                if selectors.contains(where: { $0 < 4 }) {
                    for byte in 0..<sources * size {
                        let from = place(
                            value & 0x80 != 0, 0x400, 0x728, 0x744, x * sources * size + byte, y,
                            sources * size)
                        element.append(try read(from))
                    }
                }
                for (target, selector) in selectors.enumerated() where selector != 6 {
                    for byte in 0..<size {
                        let made: UInt8
                        switch selector {
                        case 0..<sources: made = element[Int(selector * size + byte)]
                        case 4: made = UInt8(get(0xc5b5, 0x700) >> UInt32(8 * byte) & 0xff)
                        case 5: made = UInt8(get(0xc5b5, 0x704) >> UInt32(8 * byte) & 0xff)
                        default: made = 0
                        }
                        let to = place(
                            value & 0x100 != 0, 0x408, 0x70c, 0x74c,
                            (x * targets + UInt64(target)) * size + byte, y, targets * size)
                        try write(to, made)
                    }
                }
            }
        }
    }

    private mutating func launchUpload(_ classID: UInt32, _ value: UInt32) throws {
        let length = UInt64(get(classID, 0x180))
        let address = pair(classID, 0x188, 0x1ffff)
        var places: [UInt64] = []
        for y in 0..<UInt64(get(classID, 0x184)) {
            for x in 0..<length {
                places.append(
                    value & 1 == 1
                        ? address + y * UInt64(get(classID, 0x190)) + x
                        : address
                            + Self.offset(
                                x: x + UInt64(get(classID, 0x1a8)),
                                y: y + UInt64(get(classID, 0x1ac)),
                                z: UInt64(get(classID, 0x1a4)), block: get(classID, 0x194),
                                widthBytes: UInt64(get(classID, 0x198)),
                                height: UInt64(get(classID, 0x19c))))
            }
        }
        uploadPlaces[classID] = places.reversed()
    }

    private mutating func upload(_ classID: UInt32, _ value: UInt32) throws {
        guard uploadPlaces[classID]?.isEmpty == false else { throw Stop.refused }
        for byte in 0..<4 {
            guard let place = uploadPlaces[classID]?.popLast() else { break }
            try write(place, UInt8(truncatingIfNeeded: value >> UInt32(8 * byte)))
        }
    }
}
