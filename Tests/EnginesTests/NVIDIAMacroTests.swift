import Engines
import PageTables
import Testing

/// Macros of the 3D class, assembled by hand.
@Suite struct NVIDIAMacroTests {
    let data = NVIDIAMachine.data

    /// The names of the public description.
    enum Op: UInt32 {
        case add, addc, sub, subb, mul, mulh, mulu, extended, clz, sll, srl, sra, and, nand, or
        case xor, merge, slt, sltu, sle, sleu, seq, state, loop, jal, blt, bltu, ble, bleu, beq
        case dread, dwrite
    }

    enum Reg {
        static let zero: UInt32 = 24
        static let immediate: UInt32 = 25
        static let pair: UInt32 = 26
        static let wide: UInt32 = 27
        static let load0: UInt32 = 28
        static let load1: UInt32 = 29
    }

    enum Out: UInt32 {
        case none, alu0, alu1, load0, load1, immediate0, immediate1, reserved, high0, high1, wide
    }

    /// An ALU operation.
    struct A {
        var op = Op.add
        var to: UInt32 = Reg.zero
        var x: UInt32 = Reg.zero
        var y: UInt32 = Reg.zero
        var immediate: UInt32 = 0

        init(
            _ op: Op = .add, to: UInt32 = Reg.zero, _ x: UInt32 = Reg.zero,
            _ y: UInt32 = Reg.zero, _ immediate: UInt32 = 0
        ) {
            (self.op, self.to, self.x, self.y) = (op, to, x, y)
            self.immediate = immediate & 0xffff
        }
    }

    /// Assembles an instruction bit by bit: least significant first, then three dwords, the most
    /// significant in front.
    static func instruction(
        _ a: A = A(), _ b: A = A(), method: Out = .none, emit: Out = .none, method1: Out = .none,
        emit1: Out = .none, mode: UInt32 = 0, predicate: UInt32 = Reg.zero, last: Bool = false
    ) -> [UInt32] {
        var bits: [Bool] = []
        func put(_ value: UInt32, _ count: Int) {
            for bit in 0..<count { bits.append(value >> UInt32(bit) & 1 == 1) }
        }
        put(last ? 1 : 0, 1)
        put(mode, 4)
        put(predicate, 5)
        for alu in [a, b] {
            put(alu.op.rawValue, 5)
            put(alu.to, 5)
            put(alu.x, 5)
            put(alu.y, 5)
            put(alu.immediate, 16)
        }
        put(method.rawValue, 3)
        put(emit.rawValue, 4)
        put(method1.rawValue, 3)
        put(emit1.rawValue, 4)
        precondition(bits.count == 96)
        return [2, 1, 0].map { dword in
            (0..<32).reduce(UInt32(0)) { $0 | (bits[dword * 32 + $1] ? 1 << UInt32($1) : 0) }
        }
    }

    /// A method with an increment, as outputs have it.
    static func method(_ method: UInt32, increment: UInt32 = 1) -> UInt32 {
        method / 4 | increment << 12
    }

    func load(
        _ writer: inout PushWriter, _ index: UInt32, at start: UInt32, _ code: [UInt32]
    ) {
        writer.push(0, 0x11c, index, start)
        writer.push(op: 5, 0, 0x114, [start] + code)
    }

    /// Ends after the instruction that follows.
    static let end = instruction(last: true)
    static let nop = instruction()

    /// Runs a macro and returns what it left in the scratch registers.
    private func scratch(
        _ code: [UInt32], _ parameters: [UInt32], _ quantum: EngineQuantum = .init()
    ) throws -> (NVIDIAMachine, EngineOutcome?, [UInt32]) {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.bindAll()
        load(&writer, 3, at: 30, code)
        writer.push(op: 5, 0, 0x3800 + 3 * 8, parameters)
        let outcome = nvidia.run(writer, quantum)
        // Another macro's constant-buffer loads bring registers back into memory.
        var reader = PushWriter()
        reader.push(0, 0x2380, 0x1000, 0, UInt32(data), 0)
        for index in 0..<8 as Range<UInt32> {
            load(
                &reader, 40, at: 3000,
                Self.instruction(
                    A(.state, Reg.immediate, Reg.zero, (0x3440 + index * 4) / 4),
                    A(), method: .immediate1, emit: .alu0, last: true)
                    + Self.nop)
            reader.dwords.removeLast(6)
            reader.dwords +=
                Self.instruction(
                    A(.state, Reg.immediate, Reg.zero, (0x3440 + index * 4) / 4),
                    A(.add, Reg.zero, Reg.zero, Self.method(0x2390)), method: .immediate1,
                    emit: .alu0, last: true) + Self.nop
            reader.push(0, 0x3800 + 40 * 8, 0)
        }
        guard case .done? = outcome else { return (nvidia, outcome, []) }
        #expect(nvidia.run(reader) == .done)
        return (nvidia, outcome, (0..<8).map { nvidia.dword($0 * 4) })
    }

    /// Sends ALU 0's result to the next scratch register from 0x3440 on.
    private func emit(_ a: A, _ index: UInt32, _ b: A? = nil) -> [UInt32] {
        // The method comes from the second ALU's immediate, so the operand does not.
        Self.instruction(
            a, b ?? A(.add, Reg.zero, Reg.zero, Self.method(0x3440 + index * 4)),
            method: .immediate1, emit: .alu0)
    }

    @Test func arithmetic() throws {
        // R1 and R2 are the parameters.
        let parameters: [UInt32] = [0xffff_fff0, 0x21]
        let take =
            Self.instruction(A(.add, to: 1, Reg.load0), A(.add, to: 2, Reg.load1))
        let operations: [(Op, UInt32)] = [
            (.add, 0x11), (.sub, 0xffff_ffcf), (.mul, 0xffff_fdf0), (.mulu, 0xffff_fdf0),
            (.sll, 0xffff_ffe0), (.srl, 0x7fff_fff8), (.sra, 0xffff_fff8), (.and, 0x20),
            (.nand, 0xffff_ffdf), (.or, 0xffff_fff1), (.xor, 0xffff_ffd1), (.slt, .max),
            (.sltu, 0), (.sle, .max), (.sleu, 0), (.seq, 0), (.clz, 0),
        ]
        for group in stride(from: 0, to: operations.count, by: 8) {
            var code = take
            let some = operations[group..<min(group + 8, operations.count)]
            for (index, (operation, _)) in some.enumerated() {
                code += emit(A(operation, 1, 2), UInt32(index))
            }
            code += Self.end + Self.nop
            let (_, outcome, result) = try scratch(code, parameters)
            #expect(outcome == .done)
            for (index, (operation, expected)) in some.enumerated() {
                #expect(result[index] == expected, "\(operation)")
            }
        }
    }

    @Test func carriesAndImmediates() throws {
        let store = Self.method(0x3440)
        var code = Self.instruction(A(.add, to: 1, Reg.load0), A(.add, to: 2, Reg.load1))
        // 64-bit sum and difference of (R1, R2) with themselves, and the high half of a product.
        code += Self.instruction(A(.add, to: 3, 1, 1), A(.addc, to: 4, 2, 2))
        code += Self.instruction(A(.sub, to: 5, 2, 1), A(.subb, to: 6, 1, 2))
        code += Self.instruction(A(.mulu, to: 7, 1, 1), A(.mulh, to: 8))
        for (index, register) in ([3, 4, 5, 6, 8] as [UInt32]).enumerated() {
            code += emit(A(.add, register), UInt32(index))
        }
        // Immediates are signed; MERGE puts 8 bits of R1 from bit 24 to bit 4 of 0.
        code += emit(A(.add, Reg.immediate, Reg.zero, 0xfffe), 5)
        code += emit(A(.merge, Reg.zero, 1, 4 << 10 | 8 << 5 | 24), 6)
        code += Self.instruction(
            A(.add, to: 9, Reg.wide, Reg.zero, 0x1234), A(.add, Reg.zero, Reg.zero, 0x5678))
        code += emit(A(.add, 9), 7)
        code += Self.end + Self.nop
        let (_, outcome, result) = try scratch(code, [0x9000_0000, 3])
        #expect(outcome == .done)
        #expect(store == 0xd10 | 1 << 12)
        #expect(
            result == [
                0x2000_0000, 7, 0x7000_0003, 0x8fff_fffc, 0x5100_0000, 0xffff_fffe, 0x900,
                0x1234_5678,
            ])
    }

    @Test func branchesLoopsAndPredicates() throws {
        var code = Self.instruction(A(.add, to: 1, Reg.load0), A(.add, to: 2))
        // A loop of R1 rounds that counts by 3.
        code += Self.instruction(A(.loop, 1, Reg.zero, 2))
        code += Self.instruction(A(.add, to: 2, 2, Reg.immediate, 3))
        code += emit(A(.add, 2), 0)
        // Skip the next instruction if R2 is not 0 (the condition is expected to be false).
        code += Self.instruction(A(.beq, 2, Reg.zero, 2))
        code += emit(A(.add, Reg.immediate, Reg.zero, 99), 1)
        // Jump over one more.
        code += Self.instruction(A(.jal, Reg.zero, Reg.zero, 0x8002))
        code += emit(A(.add, Reg.immediate, Reg.zero, 98), 1)
        // A backward branch: count R3 to 4.
        code += Self.instruction(A(.add, to: 3, 3, Reg.immediate, 1))
        code += Self.instruction(
            A(.bltu, 3, Reg.pair, 0x8000 | 0x1fff), A(.add, Reg.zero, Reg.zero, 4))
        code += emit(A(.add, 3), 2)
        // Predicates: the output only if R2 is not 0 (UUTU), then only if it is (UUFU).
        let target = Self.method(0x3440 + 12)
        for mode in [10, 13] as [UInt32] {
            code += Self.instruction(
                A(.add, Reg.immediate, Reg.zero, mode), A(.add, Reg.zero, Reg.zero, target),
                method: .immediate1, emit: .alu0, mode: mode, predicate: 2)
        }
        // The end takes one more instruction.
        code += Self.end
        code += emit(A(.add, Reg.immediate, Reg.zero, 7), 4)
        code += emit(A(.add, Reg.immediate, Reg.zero, 8), 4)
        for quantum in [EngineQuantum(), EngineQuantum(commands: 1)] {
            let (_, outcome, result) = try scratch(code, [5], quantum)
            #expect(outcome == .done)
            #expect(result[0] == 15)
            #expect(result[1] == 0)
            #expect(result[2] == 4)
            #expect(result[3] == 10)
            #expect(result[4] == 7)
        }
    }

    @Test func theMacroOfADriverSelectsAConstantBuffer() throws {
        // The address is in scratch registers; the macro sends size, upper and lower part to
        // SET_CONSTANT_BUFFER_SELECTOR_A and on.
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.bindAll()
        var code = Self.instruction(
            A(.add, Reg.zero, Reg.zero, Self.method(0x2380)), A(.add, Reg.zero, Reg.zero, 0x800),
            method: .immediate0, emit: .immediate1)
        for index in 0..<2 as Range<UInt32> {
            code += Self.instruction(
                A(.state, Reg.immediate, Reg.zero, 0xd02 + index), emit: .alu0, last: index == 0)
        }
        load(&writer, 0, at: 0, code)
        writer.push(0, 0x3408, 0, UInt32(data) + 0x40)
        writer.immediate(0, 0x3800, 0)
        writer.push(0, 0x238c, 4, 0xabcd)
        #expect(nvidia.run(writer) == .done)
        #expect(nvidia.dword(0x44) == 0xabcd)
    }

    @Test func theFirmwareAnswersAMacroThatWaitsForIt() throws {
        // Clears the first scratch register, calls the firmware, and loops until it has answered.
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.bindAll()
        var code = Self.instruction(
            A(.add, Reg.zero, Reg.zero, Self.method(0x3400)),
            A(.add, Reg.zero, Reg.zero, Self.method(0x2310)), method: .immediate0, emit: .alu0,
            method1: .immediate1, emit1: .load0)
        code += Self.instruction(A(.state, to: 1, Reg.immediate, Reg.zero, 0xd00))
        code += Self.instruction(
            A(.beq, 1, Reg.pair, 0x1fff), A(.add, Reg.zero, Reg.zero, 1), last: false)
        code += Self.end + Self.nop
        load(&writer, 21, at: 0, code)
        writer.push(op: 5, 0, 0x38a8, [0, 8, 0x41_9ba4])
        let context = nvidia.context(writer.dwords)
        #expect(context.run() == .done)
    }

    @Test func stateOnTheSideIsReplayed() throws {
        // A constant buffer's selector is tracked, changed on the side, and replayed.
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.bindAll()
        writer.push(0, 0x2380, 0x100, 0, UInt32(data))
        writer.immediate(0, 0x124, 2)
        writer.push(0, 0x2380, 0x100, 0, UInt32(data) + 0x100)
        writer.push(0, 0x238c, 0, 1)
        // A macro sees what was tracked: it stores the selector in the buffer on the side.
        load(
            &writer, 2, at: 50,
            Self.instruction(
                A(.state, Reg.immediate, Reg.zero, 0x2388 / 4),
                A(.add, Reg.zero, Reg.zero, Self.method(0x2390)), method: .immediate1,
                emit: .alu0, last: true) + Self.nop)
        writer.push(0, 0x3810, 0)
        writer.immediate(0, 0x124, 3)
        writer.push(0, 0x2380, 0xdead, 0xbeef, 0xdead)
        writer.immediate(0, 0x124, 0)
        writer.push(0, 0x238c, 8, 2)
        #expect(nvidia.run(writer) == .done)
        #expect(nvidia.dword(0x100) == 1)
        #expect(nvidia.dword(0x104) == UInt32(data))
        #expect(nvidia.dword(8) == 2)
    }

    @Test func aDrawInAMacroIsRefused() throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.bindAll()
        load(
            &writer, 10, at: 300,
            Self.instruction(
                A(.add, Reg.zero, Reg.zero, Self.method(0x1618)), method: .immediate0,
                emit: .load0)
                + Self.end + Self.nop)
        writer.push(op: 5, 0, 0x3850, [4])
        let failure = try #require(nvidia.failure(writer))
        #expect(failure.cause == .unsupportedMethod)
        #expect(failure.method?.method == 0x1618)
        #expect(failure.method?.classID == 0xc597)
        #expect(failure.method?.value == 4)
        #expect(failure.description.contains("BEGIN"))
    }

    @Test func anEndlessMacroYields() throws {
        let nvidia = try NVIDIAMachine()
        var writer = PushWriter()
        writer.bindAll()
        load(&writer, 0, at: 0, Self.instruction(A(.beq, Reg.zero, Reg.zero, 0x8000)))
        writer.push(0, 0x3800, 0)
        let context = nvidia.context(writer.dwords)
        for _ in 0..<3 { #expect(context.run(EngineQuantum(commands: 100)) == .yield) }
        var asked = 0
        let outcome = context.run(EngineQuantum(commands: .max)) {
            asked += 1
            return asked > 1000
        }
        #expect(outcome == .yield)
    }

    @Test func whatAMacroMustNotDo() throws {
        let call: (inout PushWriter) -> Void = { $0.push(0, 0x3800, 1) }
        let cases: [(MacroFault, [UInt32], (inout PushWriter) -> Void)] = [
            // Zeros all the way: the macro runs out of the memory.
            (.runaway, Self.nop, call),
            (.badInstruction, Self.instruction(A(.add, to: 26)), call),
            (.badInstruction, Self.instruction(A(.add, 30)), call),
            (.badInstruction, Self.instruction(method: .reserved), call),
            (.badInstruction, Self.instruction(A(.extended, Reg.zero)), call),
            (.badInstruction, Self.instruction(mode: 1, predicate: 27), call),
            (.badData, Self.instruction(A(.dread, Reg.immediate, Reg.zero, 0x1000)), call),
            (.badData, Self.instruction(A(.dwrite, Reg.immediate, Reg.zero, 0xffff)), call),
            (
                .nestedLoop,
                Self.instruction(A(.loop, Reg.immediate, Reg.zero, 5))
                    + Self.instruction(A(.loop, Reg.immediate, Reg.zero, 5)), call
            ),
            (.runaway, Self.instruction(A(.beq, Reg.zero, Reg.zero, 0x9ffe)), call),
            // A method of the host's, and a macro in a macro.
            (
                .badInstruction,
                Self.instruction(
                    A(.add, Reg.zero, Reg.zero, Self.method(0x10)), method: .immediate0,
                    emit: .alu0), call
            ),
            (
                .badInstruction,
                Self.instruction(
                    A(.add, Reg.zero, Reg.zero, Self.method(0x3800)), method: .immediate0,
                    emit: .alu0), call
            ),
            (
                .starved, Self.instruction(A(.add, to: 1, Reg.load0), A(.add, to: 2, Reg.load1)),
                {
                    $0.push(0, 0x3800, 1)
                    $0.push(0, 0x3800, 1)
                }
            ),
            (.badPointer, [], { $0.push(0, 0x114, 4096, 0) }),
            (.badPointer, [], { $0.push(0, 0x11c, 256, 0) }),
        ]
        for (index, (fault, code, body)) in cases.enumerated() {
            let nvidia = try NVIDIAMachine()
            var writer = PushWriter()
            writer.bindAll()
            if !code.isEmpty { load(&writer, 0, at: 0, code) }
            body(&writer)
            let failure = nvidia.failure(writer)
            #expect(failure?.cause == .macro(fault), "case \(index)")
            #expect(failure?.description.contains(fault.rawValue) == true)
        }
    }

    @Test func dataMemory() throws {
        var code = Self.instruction(A(.dwrite, Reg.immediate, Reg.load0, 0xfff))
        code += emit(A(.dread, Reg.immediate, Reg.zero, 0xfff), 0)
        code += Self.end + Self.nop
        let (_, outcome, result) = try scratch(code, [0x1357_9bdf])
        #expect(outcome == .done)
        #expect(result[0] == 0x1357_9bdf)
    }
}
