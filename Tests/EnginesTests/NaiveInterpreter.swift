/// What a command stream does, byte by byte over a dictionary of pages: the model that the engine
/// is compared with. Opcodes are written out as the header file's comments give them.
struct NaiveInterpreter {
    enum Page {
        case memory(frame: UInt64, readOnly: Bool)
        case null
    }

    struct Fault: Error, Equatable {
        var address: UInt64
        var isWrite: Bool
        var command: UInt64
    }

    enum Outcome: Equatable {
        case done
        case blocked
        case fault(Fault)
        case invalid(command: UInt64)
    }

    var pages: [UInt64: Page] = [:]
    /// Frame contents.
    var frames: [UInt64: [UInt8]] = [:]
    private var command: UInt64 = 0

    init() {}

    private func read(_ address: UInt64) throws(Fault) -> UInt8 {
        switch pages[address / 4096] {
        case .memory(let frame, _): frames[frame]![Int(address % 4096)]
        case .null: 0
        case nil: throw Fault(address: address, isWrite: false, command: command)
        }
    }

    private mutating func write(_ address: UInt64, _ byte: UInt8) throws(Fault) {
        switch pages[address / 4096] {
        case .memory(let frame, false): frames[frame]![Int(address % 4096)] = byte
        case .null: break
        default: throw Fault(address: address, isWrite: true, command: command)
        }
    }

    private func number(_ address: UInt64, bytes: UInt64) throws(Fault) -> UInt64 {
        var value: UInt64 = 0
        for index in 0..<bytes { value |= UInt64(try read(address &+ index)) << (8 * index) }
        return value
    }

    private mutating func store(_ address: UInt64, _ value: UInt64, bytes: UInt64) throws(Fault) {
        for index in 0..<bytes {
            try write(address &+ index, UInt8(truncatingIfNeeded: value >> (8 * index)))
        }
    }

    private mutating func copy(_ from: UInt64, _ to: UInt64, _ bytes: UInt64) throws(Fault) {
        for index in 0..<bytes { try write(to &+ index, try read(from &+ index)) }
    }

    mutating func run(_ batch: UInt64) -> Outcome {
        command = batch
        do {
            while true {
                let at = command
                let header = try number(at, bytes: 4)
                let length = header >> 16
                func dword(_ index: UInt64) throws(Fault) -> UInt64 {
                    try number(at &+ index * 4, bytes: 4)
                }
                func qword(_ index: UInt64) throws(Fault) -> UInt64 {
                    try number(at &+ index * 4, bytes: 8)
                }
                var next = at &+ length * 4
                switch (header & 0xff, length, header >> 8 & 0xff) {
                case (0x01, 1..., 0): break
                case (0x02, 1, 0): return .done
                case (0x03, 3, 0): next = try qword(1)
                case (0x10, 7, 0): try copy(try qword(1), try qword(3), try qword(5))
                case (0x11, 9, 0):
                    for line in 0..<(try dword(8)) {
                        try copy(
                            try qword(1) &+ line * (try dword(5)),
                            try qword(3) &+ line * (try dword(6)), try dword(7))
                    }
                case (0x12, 6, 0):
                    for index in 0..<(try qword(3)) {
                        let byte = UInt8(truncatingIfNeeded: try dword(5) >> (8 * (index % 4)))
                        try write(try qword(1) &+ index, byte)
                    }
                case (0x20, 4, 0): try store(try qword(1), try dword(3), bytes: 4)
                case (0x21, 5, 0): try store(try qword(1), try qword(3), bytes: 8)
                case (0x31, 5, 0): try store(try qword(1), try qword(3), bytes: 8)
                case (0x31, 5, 8): try store(try qword(1), try dword(3), bytes: 4)
                case (0x30, 7, let flags):
                    let isDword = flags & 8 != 0
                    let size: UInt64 = isDword ? 4 : 8
                    let memory = try number(try qword(1), bytes: size) & (try qword(5))
                    let value = isDword ? try dword(3) : try qword(3)
                    let satisfied: Bool
                    switch flags & 7 {
                    case 0: satisfied = memory == value
                    case 1: satisfied = memory != value
                    case 2: satisfied = memory >= value
                    case 3: satisfied = memory > value
                    case 4: satisfied = memory < value
                    case 5: satisfied = memory <= value
                    default: return .invalid(command: at)
                    }
                    if !satisfied { return .blocked }
                default: return .invalid(command: at)
                }
                command = next
            }
        } catch {
            return .fault(error)
        }
    }
}
