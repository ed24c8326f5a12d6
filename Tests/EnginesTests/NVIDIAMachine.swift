import Engines
import PageTables
import TestSupport

/// A ``Machine`` with an NVIDIA engine beside the generic one.
struct NVIDIAMachine {
    static let code: UInt64 = 0x10_0000
    static let codePages: UInt64 = 4
    static let data: UInt64 = 0x20_0000
    static let missing: UInt64 = 0x70_0000
    static let readOnly: UInt64 = 0x60_0000

    let machine: Machine
    let engine: NVIDIAEngine
    let channel: NVIDIAChannel
    let dataPages: UInt64

    /// Code in the first frames, `dataPages` pages of data behind them, a read-only page at the end.
    init(
        dataPages: UInt64 = 16, classes: NVIDIAClasses = .tu104, run: UInt64 = 1 << 40,
        hazards: HazardPolicy = .report
    ) throws {
        self.dataPages = dataPages
        machine = try Machine(frames: Self.codePages + dataPages + 1, run: run)
        engine = NVIDIAEngine(name: "nv0", mmu: machine.mmu, hazards: hazards)
        channel = NVIDIAChannel(classes: classes)
        try machine.map(Self.code, frame: 0, pages: Self.codePages)
        try machine.map(Self.data, frame: Self.codePages, pages: dataPages)
        try machine.map(Self.readOnly, frame: Self.codePages + dataPages, readOnly: true)
    }

    func context(_ dwords: [UInt32], at offset: UInt64 = 0) -> NVIDIAContext {
        machine.write(dwords, frame: 0, offset: offset)
        return NVIDIAContext(
            engine: engine, channel: channel, space: machine.space,
            pushes: [NVIDIAPush(address: Self.code + offset, bytes: UInt64(dwords.count) * 4)])
    }

    /// Runs a push to its end and returns how it ended.
    func run(_ writer: PushWriter, _ quantum: EngineQuantum = .init()) -> EngineOutcome? {
        finish(context(writer.dwords), quantum)
    }

    func failure(_ writer: PushWriter) -> EngineFailure? {
        guard case .failed(let failure)? = run(writer) else { return nil }
        return failure
    }

    /// All data.
    func data() -> [UInt8] {
        machine.bytes(frame: Self.codePages, count: Int(dataPages * 4096))
    }

    func setData(_ bytes: [UInt8]) {
        machine.host(frame: Self.codePages).copyMemory(from: bytes, byteCount: bytes.count)
    }

    func dword(_ offset: UInt64) -> UInt32 {
        machine.host(frame: Self.codePages, offset: offset).load(as: UInt32.self)
    }

    func qword(_ offset: UInt64) -> UInt64 {
        machine.host(frame: Self.codePages, offset: offset).load(as: UInt64.self)
    }
}

/// Writes method headers as the class headers give them.
struct PushWriter {
    var dwords: [UInt32] = []

    static func header(_ op: UInt32, _ subchannel: UInt32, _ method: UInt32, _ field: Int) -> UInt32
    {
        op << 29 | UInt32(field) << 16 | subchannel << 13 | method >> 2
    }

    /// Incrementing.
    mutating func push(_ subchannel: UInt32, _ method: UInt32, _ data: UInt32...) {
        dwords.append(Self.header(1, subchannel, method, data.count))
        dwords += data
    }

    mutating func immediate(_ subchannel: UInt32, _ method: UInt32, _ value: UInt32) {
        dwords.append(Self.header(4, subchannel, method, Int(value)))
    }

    /// One of the other forms: 3 constant, 5 increment once.
    mutating func push(
        op: UInt32, _ subchannel: UInt32, _ method: UInt32, _ data: [UInt32]
    ) {
        dwords.append(Self.header(op, subchannel, method, data.count))
        dwords += data
    }

    /// An address in a pair of registers, the upper first.
    mutating func address(_ subchannel: UInt32, _ method: UInt32, _ address: UInt64) {
        push(subchannel, method, UInt32(address >> 32), UInt32(truncatingIfNeeded: address))
    }

    mutating func bindAll(_ classes: NVIDIAClasses = .tu104) {
        push(0, 0, UInt32(classes.threeD))
        push(1, 0, UInt32(classes.compute))
        push(2, 0, UInt32(classes.inlineToMemory))
        push(3, 0, UInt32(classes.twoD))
    }

    /// A host semaphore: operation in the low bits.
    mutating func semaphore(_ address: UInt64, _ payload: UInt32, _ operation: UInt32) {
        push(
            0, 0x10, UInt32(address >> 32), UInt32(truncatingIfNeeded: address), payload, operation)
    }

    /// A host semaphore of the newer kind.
    mutating func semaphore64(_ address: UInt64, _ payload: UInt64, _ execute: UInt32) {
        push(
            0, 0x5c, UInt32(truncatingIfNeeded: address), UInt32(address >> 32),
            UInt32(truncatingIfNeeded: payload), UInt32(payload >> 32), execute)
    }

    mutating func report(
        _ subchannel: UInt32, _ address: UInt64, _ payload: UInt32, _ operation: UInt32
    ) {
        push(
            subchannel, 0x1b00, UInt32(address >> 32), UInt32(truncatingIfNeeded: address), payload,
            operation)
    }

    /// The addresses, pitches and lengths of a copy.
    mutating func copy(
        from: UInt64, pitch sourcePitch: UInt32 = 0, to: UInt64, outPitch: UInt32 = 0,
        length: UInt32, lines: UInt32 = 1, launch: UInt32 = Launch.linear
    ) {
        push(
            4, 0x400, UInt32(from >> 32), UInt32(truncatingIfNeeded: from), UInt32(to >> 32),
            UInt32(truncatingIfNeeded: to), sourcePitch, outPitch, length, lines)
        push(4, 0x300, launch)
    }

    enum Launch {
        /// Non-pipelined, flush, pitch on both sides, multi-line.
        static let linear: UInt32 = 0x386
        static let multiLine: UInt32 = 0x200
        static let remap: UInt32 = 0x400
        static let sourcePitch: UInt32 = 0x80
        static let destinationPitch: UInt32 = 0x100
        static let oneWord: UInt32 = 0x8
        static let fourWords: UInt32 = 0x10
        /// Non-pipelined, both sides block-linear, multi-line.
        static let tiled: UInt32 = 0x202
    }
}

/// Runs a context until it does not yield any more; nil if that takes too many quanta.
func finish(_ context: NVIDIAContext, _ quantum: EngineQuantum = .init()) -> EngineOutcome? {
    for _ in 0..<2_000_000 {
        let outcome = context.run(quantum)
        if outcome != .yield { return outcome }
    }
    return nil
}

extension SplitMix64 {
    /// As many bytes, a multiple of 8, as cheaply as an unoptimised build can.
    mutating func bytes(_ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            for word in 0..<count / 8 {
                UnsafeMutableRawBufferPointer(buffer).storeBytes(
                    of: next(), toByteOffset: word * 8, as: UInt64.self)
            }
            filled = count / 8 * 8
        }
    }
}
