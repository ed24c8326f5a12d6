/// The macro method expander of the 3D class: a small processor whose programs, which the client
/// loads, turn a call and its parameters into methods.
///
/// Drivers issue nearly every draw through it, and much state that depends on other state. It is
/// stepped instruction by instruction, so that a macro without an end costs a job and not an
/// engine.
///
/// Behaviour where the public description is silent (the order inside of an instruction, the
/// delayed end, MERGE's fields) is what Mesa's `src/nouveau/mme/mme_tu104_sim.c` documents and tests
/// against hardware.
///
/// Threading: owned by one ``NVIDIAChannel``.
final class MacroProcessor {
    /// A method that a macro has issued.
    struct Issue {
        var method: UInt32
        var value: UInt32
    }

    private static let instructionCount = 4096
    private static let macroCount = 256
    private static let dataDwords = 4096
    private static let generalRegisters = 24

    private let instructions = MacroMemory(count: instructionCount * MacroInstruction.dwords)
    private let starts = MacroMemory(count: macroCount)
    private let data = MacroMemory(count: dataDwords)
    private let registers = MacroMemory(count: generalRegisters)
    /// The dword that is loaded next; clients count instructions.
    private var instructionPointer = 0
    private var startPointer = 0

    /// Whether a macro has been called and has not ended.
    private var isRunning = false
    /// Whether the running macro cannot go on without another parameter.
    private var needsParameter = false
    /// The dword at which the running macro begins.
    private var base = 0
    private var next = 0
    private var endsNow = false
    private var parameters = SIMD4<UInt32>()
    private var parameterCount = 0
    private var loaded = SIMD2<UInt32>()
    private var results = SIMD2<UInt32>()
    private var carry: UInt32 = 0
    private var method: UInt32 = 0
    private var increment: UInt32 = 0
    private var loopsLeft: UInt32 = 0
    private var loopStart = 0
    private var loopEnd = 0
    private var issues = (Issue(method: 0, value: 0), Issue(method: 0, value: 0))
    private var issueCount = 0

    // MARK: loading

    /// Says which instruction is loaded next.
    ///
    /// Source: tu102_graph_set_macro (Mesa, `src/gallium/drivers/nouveau/nvc0/nvc0_screen.c`), which
    /// packs macros by their instructions.
    func setInstructionPointer(_ value: UInt32) {
        instructionPointer = Int(value) * MacroInstruction.dwords
    }

    func setStartPointer(_ value: UInt32) { startPointer = Int(value) }

    func loadInstruction(_ value: UInt32) throws(MacroFault) {
        guard instructions.set(instructionPointer, value) else { throw .badPointer }
        instructionPointer += 1
    }

    func loadStart(_ value: UInt32) throws(MacroFault) {
        guard starts.set(startPointer, value) else { throw .badPointer }
        startPointer += 1
    }

    // MARK: calling

    /// Calls macro `index` with its first parameter.
    func call(_ index: Int, _ parameter: UInt32) throws(MacroFault) {
        if isRunning { throw .starved }
        guard let start = starts[index] else { throw .badPointer }
        base = Int(start) * MacroInstruction.dwords
        next = 0
        endsNow = false
        loopsLeft = 0
        method = 0
        increment = 0
        carry = 0
        issueCount = 0
        isRunning = true
        needsParameter = false
        parameters[0] = parameter
        parameterCount = 1
    }

    /// Gives a parameter that follows the call.
    ///
    /// A macro runs until it needs one before it gets the next, so that few wait here. What a macro
    /// does not take before it ends is dropped.
    func addParameter(_ value: UInt32) throws(MacroFault) {
        guard isRunning else { return }
        guard parameterCount < 4 else { throw .starved }
        parameters[parameterCount] = value
        parameterCount += 1
        needsParameter = false
    }

    /// Whether there is something to do: a method issued, or an instruction to execute.
    var isReady: Bool { issueCount > 0 || isRunning && !needsParameter }

    /// The first method issued and not yet carried out.
    var issue: Issue? { issueCount == 0 ? nil : issues.0 }

    /// Forgets ``issue``.
    func dropIssue() {
        issues.0 = issues.1
        issueCount -= 1
    }

    // MARK: running

    /// Executes one instruction, whose methods are then in ``issue``; `state` reads a register of
    /// the 3D class.
    ///
    /// Call it only while ``isReady`` and nothing is issued.
    func step(state: (UInt32) -> UInt32) throws(MacroFault) {
        let address = base + next * MacroInstruction.dwords
        guard let first = instructions[address], let second = instructions[address + 1],
            let third = instructions[address + 2]
        else { throw .runaway }
        let instruction = MacroInstruction(first, second, third)
        guard takeParameters(instruction) else {
            needsParameter = true
            return
        }
        let current = next
        next += 1
        var stops = false
        var isTrue = true
        if instruction.predicateMode != 0 { isTrue = try isSet(instruction.predicate) }
        let active = instruction.activeParts(predicate: isTrue)
        if active & 1 != 0 {
            stops = try execute(instruction, 0, instruction.firstALU, current, state)
        }
        if active & 2 != 0 {
            if try execute(instruction, 1, instruction.secondALU, current, state) { stops = true }
        }
        if active & 4 != 0 { try put(instruction, instruction.firstOutput) }
        if active & 8 != 0 { try put(instruction, instruction.secondOutput) }
        if endsNow || stops {
            isRunning = false
            parameterCount = 0
            return
        }
        endsNow = instruction.endsNext
        if loopsLeft > 0 && current == loopEnd {
            loopsLeft -= 1
            next = loopStart + 1
        }
    }

    private func takeParameters(_ instruction: MacroInstruction) -> Bool {
        let first = instruction.loads(0)
        let second = instruction.loads(1)
        guard (first ? 1 : 0) + (second ? 1 : 0) <= parameterCount else { return false }
        if first { loaded[0] = takeParameter() }
        if second { loaded[1] = takeParameter() }
        return true
    }

    private func takeParameter() -> UInt32 {
        let value = parameters[0]
        parameters = SIMD4(parameters[1], parameters[2], parameters[3], 0)
        parameterCount -= 1
        return value
    }

    private func isSet(_ predicate: UInt8) throws(MacroFault) -> Bool {
        switch predicate {
        case 24: return false
        case 28, 29: return loaded[Int(predicate) - 28] != 0
        default:
            guard let value = registers[Int(predicate)] else { throw .badInstruction }
            return value != 0
        }
    }

    private func source(
        _ instruction: MacroInstruction, _ alu: MacroInstruction.ALU, _ which: Int,
        _ register: UInt8
    ) throws(MacroFault) -> UInt32 {
        switch register {
        case 24: return 0
        case 25: return Self.signExtended(alu.immediate)
        case 26:
            let other = which == 0 ? instruction.secondALU : instruction.firstALU
            return Self.signExtended(other.immediate)
        case 27: return Self.wideImmediate(instruction)
        case 28, 29: return loaded[Int(register) - 28]
        default:
            guard let value = registers[Int(register)] else { throw .badInstruction }
            return value
        }
    }

    private static func signExtended(_ immediate: UInt16) -> UInt32 {
        UInt32(bitPattern: Int32(Int16(bitPattern: immediate)))
    }

    private static func wideImmediate(_ instruction: MacroInstruction) -> UInt32 {
        UInt32(instruction.firstALU.immediate) << 16 | UInt32(instruction.secondALU.immediate)
    }

    /// Executes an ALU's operation; returns whether the macro ends with this instruction.
    private func execute(
        _ instruction: MacroInstruction, _ which: Int, _ alu: MacroInstruction.ALU,
        _ current: Int, _ state: (UInt32) -> UInt32
    ) throws(MacroFault) -> Bool {
        let x = try source(instruction, alu, which, alu.sources.0)
        let y = try source(instruction, alu, which, alu.sources.1)
        var result: UInt32 = 0
        switch alu.operation {
        case 0...6, 8...21: result = compute(alu, x, y)
        case 7:
            // The barrier behind a read of memory, which is refused where it is issued.
            guard x == 0x1000, y == 1 else { throw .badInstruction }
        case 22: result = state(((x &+ y) &<< 2) & (NVIDIAChannel.methodSpan - 1))
        case 23:
            guard loopsLeft == 0 else { throw .nestedLoop }
            loopsLeft = max(1, x) - 1
            loopStart = current
            loopEnd = current + Int(alu.immediate) - 1
        case 24: next = current + Int(alu.immediate & 0x7fff)
        case 25...29:
            let isTaken = Self.compares(alu.operation, x, y) == (alu.immediate >> 15 != 0)
            if isTaken {
                let offset = Int(Int16(bitPattern: alu.immediate << 3) >> 3)
                // The most negative offset is the macro's end.
                if offset == -0x1000 { return true }
                next = current + offset
                guard next >= 0 else { throw .runaway }
            }
        case 30:
            guard let value = data[Int(x)] else { throw .badData }
            result = value
        default: guard data.set(Int(x), y) else { throw .badData }
        }
        results[which] = result
        if alu.destination != 24 {
            guard registers.set(Int(alu.destination), result) else { throw .badInstruction }
        }
        return false
    }

    /// The operations that need nothing but their operands.
    private func compute(_ alu: MacroInstruction.ALU, _ x: UInt32, _ y: UInt32) -> UInt32 {
        switch alu.operation {
        case 0:
            let (sum, overflow) = x.addingReportingOverflow(y)
            carry = overflow ? 1 : 0
            return sum
        case 1: return x &+ y &+ carry
        case 2:
            let (difference, overflow) = x.subtractingReportingOverflow(y)
            carry = overflow ? 1 : 0
            return difference
        case 3: return x &- y &- carry
        case 4:
            let product = Int64(Int32(bitPattern: x)) * Int64(Int32(bitPattern: y))
            carry = UInt32(truncatingIfNeeded: product >> 32)
            return UInt32(truncatingIfNeeded: product)
        case 5: return carry
        case 6:
            let product = UInt64(x) * UInt64(y)
            carry = UInt32(truncatingIfNeeded: product >> 32)
            return UInt32(truncatingIfNeeded: product)
        case 8: return UInt32(x.leadingZeroBitCount)
        case 9: return x &<< (y & 31)
        case 10: return x &>> (y & 31)
        case 11: return UInt32(bitPattern: Int32(bitPattern: x) &>> Int32(y & 31))
        case 12: return x & y
        case 13: return ~(x & y)
        case 14: return x | y
        case 15: return x ^ y
        case 16:
            let from = UInt64(alu.immediate & 0x1f)
            let mask = ((1 as UInt64) &<< UInt64(alu.immediate >> 5 & 0x1f)) &- 1
            let to = UInt64(alu.immediate >> 10)
            let kept = UInt64(x) & ~(mask &<< to)
            return UInt32(truncatingIfNeeded: kept | ((UInt64(y) &>> from) & mask) &<< to)
        default: return Self.compares(alu.operation, x, y) ? .max : 0
        }
    }

    /// The conditions of the comparing (17…21) and branching (25…29) operations.
    private static func compares(_ operation: UInt8, _ x: UInt32, _ y: UInt32) -> Bool {
        switch operation {
        case 17, 25: Int32(bitPattern: x) < Int32(bitPattern: y)
        case 18, 26: x < y
        case 19, 27: Int32(bitPattern: x) <= Int32(bitPattern: y)
        case 20, 28: x <= y
        default: x == y
        }
    }

    private func put(
        _ instruction: MacroInstruction, _ output: MacroInstruction.Output
    ) throws(MacroFault) {
        if output.method != 0 {
            let value = try outputValue(instruction, output.method)
            method = (value & 0xfff) << 2
            increment = (value >> 12 & 0xf) << 2
        }
        if output.data != 0 {
            let issue = Issue(method: method, value: try outputValue(instruction, output.data))
            if issueCount == 0 { issues.0 = issue } else { issues.1 = issue }
            issueCount += 1
            method = (method &+ increment) & (NVIDIAChannel.methodSpan - 1)
        }
    }

    private func outputValue(
        _ instruction: MacroInstruction, _ output: UInt8
    ) throws(MacroFault) -> UInt32 {
        switch output {
        case 1: return results[0]
        case 2: return results[1]
        case 3: return loaded[0]
        case 4: return loaded[1]
        case 5: return UInt32(instruction.firstALU.immediate)
        case 6: return UInt32(instruction.secondALU.immediate)
        case 8: return UInt32(instruction.firstALU.immediate >> 12)
        case 9: return UInt32(instruction.secondALU.immediate >> 12)
        case 10: return Self.wideImmediate(instruction)
        default: throw .badInstruction
        }
    }
}
