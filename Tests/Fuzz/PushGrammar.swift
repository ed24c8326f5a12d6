import Engines

/// Makes push buffers of bytes: methods that do something, with data that fits mostly.
struct PushGrammar {
    let classes: NVIDIAClasses
    /// Where memory is.
    let data: UInt64
    let dataBytes: UInt64
    private var made: [UInt32] = []

    init(classes: NVIDIAClasses, data: UInt64, dataBytes: UInt64) {
        self.classes = classes
        self.data = data
        self.dataBytes = dataBytes
    }

    /// At most `limit` dwords, some of which may be cut off.
    mutating func dwords(_ input: inout FuzzInput, limit: Int) -> [UInt32] {
        made = []
        push(0, 0, [UInt32(classes.threeD)])
        push(1, 0, [UInt32(classes.compute)])
        push(2, 0, [UInt32(classes.inlineToMemory)])
        push(3, 0, [UInt32(classes.twoD)])
        while !input.isEmpty, made.count < limit { step(&input) }
        return Array(made.prefix(limit))
    }

    // The methods that change something beside a register; the copy class on subchannel 4.
    private static let copyMethods: [UInt32] = [
        0x240, 0x248, 0x24c, 0x25c, 0x300, 0x400, 0x408, 0x410, 0x414, 0x418, 0x41c, 0x700, 0x704,
        0x708, 0x70c, 0x710, 0x714, 0x718, 0x71c, 0x720, 0x728, 0x72c, 0x730, 0x734, 0x738, 0x73c,
        0x744, 0x748, 0x74c, 0x750,
    ]
    // The 3D class: macros, shadow, inline data, semaphores, constant buffers.
    private static let graphicsMethods: [UInt32] = [
        0x100, 0x104, 0x110, 0x114, 0x118, 0x11c, 0x120, 0x124, 0x180, 0x184, 0x188, 0x18c, 0x190,
        0x194, 0x198, 0x19c, 0x1a0, 0x1a4, 0x1a8, 0x1ac, 0x1b0, 0x1b4, 0x1b00, 0x1b04, 0x1b08,
        0x1b0c, 0x2380, 0x2384, 0x2388, 0x238c, 0x2390, 0x3800, 0x3804, 0x3808,
    ]
    private static let hostMethods: [UInt32] = [
        0x0, 0x8, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x28, 0x2c, 0x5c, 0x60, 0x64, 0x68, 0x6c, 0x78,
        0x80,
    ]

    private mutating func push(
        _ subchannel: UInt32, _ method: UInt32, _ data: [UInt32], op: UInt32 = 1
    ) {
        made.append(op << 29 | UInt32(data.count) << 16 | subchannel << 13 | method >> 2 & 0xfff)
        made += data
    }

    private func address(_ input: inout FuzzInput) -> UInt64 {
        let kind = input.byte()
        if kind >= 240 { return input.value() }
        let offset = UInt64(input.integer(UInt16.self)) % (dataBytes + 64)
        return data + (kind < 120 ? offset & ~15 : offset)
    }

    private mutating func addressPair(
        _ subchannel: UInt32, _ method: UInt32, _ input: inout FuzzInput
    ) {
        let address = address(&input)
        push(subchannel, method, [UInt32(address >> 32), UInt32(truncatingIfNeeded: address)])
    }

    private mutating func step(_ input: inout FuzzInput) {
        switch input.byte() % 16 {
        case 0: made.append(input.integer())
        case 1:
            let form = input.pick([1, 3, 4, 5, 7] as [UInt32])
            let data = (0..<input.below(8)).map { _ in input.dword() }
            push(
                UInt32(input.below(8)), UInt32(input.integer(UInt16.self)) & 0x3ffc, data, op: form)
        case 2: push(4, input.pick(Self.copyMethods), [input.dword()])
        case 3: addressPair(4, input.pick([0x400, 0x408, 0x240]), &input)
        case 4:
            push(4, 0x410, [UInt32(input.byte()), UInt32(input.byte())])
            push(4, 0x418, [UInt32(input.byte()), UInt32(input.byte() % 40)])
        case 5:
            // Block-linear: block size, width, height, depth, layer, and the origin.
            let method: UInt32 = input.below(2) == 0 ? 0x728 : 0x70c
            push(
                4, method,
                [
                    0x1000 | UInt32(input.integer(UInt16.self) & 0x0fff), UInt32(input.byte()),
                    UInt32(input.byte()), UInt32(input.below(4)), UInt32(input.below(4)),
                ])
            push(
                4, method == 0x728 ? 0x744 : 0x74c,
                [UInt32(input.byte()), UInt32(input.byte())])
        case 6:
            push(4, 0x700, [input.integer(), input.integer(), input.integer(UInt32.self)])
        case 7, 8: push(4, 0x300, [UInt32(input.integer(UInt16.self))])
        case 9: push(4, 0x300, [input.pick([0x386, 0x182, 0x202, 0x786, 0x38e, 0x387])])
        case 10:
            let address = address(&input)
            push(
                UInt32(input.below(5)), 0x10,
                [
                    UInt32(address >> 32), UInt32(truncatingIfNeeded: address), input.dword(),
                    input.isRare(2)
                        ? UInt32(input.integer(UInt16.self)) << 12 : 1 << UInt32(input.below(26)),
                ])
        case 11:
            let address = address(&input)
            push(
                0, 0x5c,
                [
                    UInt32(truncatingIfNeeded: address), UInt32(address >> 32), input.dword(),
                    input.dword(), input.integer(),
                ])
        case 12:
            // A report of the 3D or the compute class.
            let address = address(&input)
            push(
                UInt32(input.below(2)), 0x1b00,
                [
                    UInt32(address >> 32), UInt32(truncatingIfNeeded: address), input.dword(),
                    input.integer(),
                ])
        case 13:
            // Inline data: line, lines, target, and what follows.
            let subchannel = UInt32(input.below(3))
            push(subchannel, 0x180, [UInt32(input.byte() % 64), UInt32(input.below(6))])
            addressPair(subchannel, 0x188, &input)
            push(
                subchannel, 0x190,
                [
                    UInt32(input.byte()), UInt32(input.integer(UInt16.self)), UInt32(input.byte()),
                    UInt32(input.byte()), 1, UInt32(input.below(3)), UInt32(input.byte()),
                    UInt32(input.byte()),
                ])
            push(subchannel, 0x1b0, [input.pick([0x11, 1, 0, 0x1011])])
            let data = (0..<input.below(32)).map { UInt32($0) &* 0x0101_0101 }
            push(subchannel, 0x1b4, data, op: 3)
        case 14:
            // Macros: their code, where they start, and a call.
            push(0, 0x114, [UInt32(input.below(8))])
            push(0, 0x118, (0..<input.below(16)).map { _ in input.integer() }, op: 3)
            push(0, 0x11c, [UInt32(input.below(4)), UInt32(input.below(8))])
            let arguments = (0..<input.below(5)).map { _ in input.dword() }
            push(0, 0x3800 + UInt32(input.below(8)) * 4, arguments, op: input.pick([1, 3, 5]))
        default:
            let subchannel = UInt32(input.below(8))
            push(
                subchannel,
                subchannel < 4 ? input.pick(Self.graphicsMethods) : input.pick(Self.hostMethods),
                (0..<input.below(4)).map { _ in input.dword() })
        }
    }
}
