/// An instruction of the macro method expander, as Turing and later have it: two ALU operations and
/// two outputs, of which a predicate can turn each off.
///
/// It is three dwords, the most significant first.
///
/// | Bits | Field |
/// |---|---|
/// | 0 | the next instruction is the macro's last |
/// | 4:1, 9:5 | predicate: mode, register |
/// | 14:10, 19:15, 24:20, 29:25, 45:30 | first ALU: operation, destination, two sources, immediate |
/// | 50:46, 55:51, 60:56, 65:61, 81:66 | second ALU |
/// | 84:82, 88:85 | first output: method, data |
/// | 91:89, 95:92 | second output |
///
/// Source: NVIDIA open-gpu-doc, `MME-MacroMethodExpander/tu104`.
struct MacroInstruction {
    struct ALU {
        var operation: UInt8
        var destination: UInt8
        var sources: (UInt8, UInt8)
        var immediate: UInt16
    }

    struct Output {
        var method: UInt8
        var data: UInt8
    }

    static let dwords = 3

    private let low: UInt64
    private let high: UInt32

    init(_ first: UInt32, _ second: UInt32, _ third: UInt32) {
        high = first
        low = UInt64(second) << 32 | UInt64(third)
    }

    var endsNext: Bool { low & 1 != 0 }
    var predicateMode: UInt8 { UInt8(low >> 1 & 0xf) }
    var predicate: UInt8 { UInt8(low >> 5 & 0x1f) }

    var firstALU: ALU {
        ALU(
            operation: UInt8(low >> 10 & 0x1f), destination: UInt8(low >> 15 & 0x1f),
            sources: (UInt8(low >> 20 & 0x1f), UInt8(low >> 25 & 0x1f)),
            immediate: UInt16(low >> 30 & 0xffff))
    }

    var secondALU: ALU {
        ALU(
            operation: UInt8(low >> 46 & 0x1f), destination: UInt8(low >> 51 & 0x1f),
            sources: (UInt8(low >> 56 & 0x1f), UInt8(low >> 61 | UInt64(high & 3) << 3)),
            immediate: UInt16(high >> 2 & 0xffff))
    }

    var firstOutput: Output {
        Output(method: UInt8(high >> 18 & 7), data: UInt8(high >> 21 & 0xf))
    }

    var secondOutput: Output {
        Output(method: UInt8(high >> 25 & 7), data: UInt8(high >> 28))
    }

    /// Whether it takes the next parameter under the name LOAD0 or LOAD1 (`which` 0 or 1).
    func loads(_ which: UInt8) -> Bool {
        let register = 28 + which
        let output = 3 + which
        let (a, b) = (firstALU.sources, secondALU.sources)
        return a.0 == register || a.1 == register || b.0 == register || b.1 == register
            || predicate == register && predicateMode != 0
            || firstOutput.method == output || firstOutput.data == output
            || secondOutput.method == output || secondOutput.data == output
    }

    /// Which of the four parts (ALUs, then outputs) are carried out, as bits 0…3.
    ///
    /// A mode's name gives a condition for each part: T, F, or U for always.
    func activeParts(predicate isTrue: Bool) -> UInt8 {
        // For each mode: the parts that need true, the parts that need false.
        let (needTrue, needFalse): (UInt8, UInt8) =
            switch predicateMode {
            case 0: (0b0000, 0b0000)  // UUUU
            case 1: (0b1111, 0b0000)  // TTTT
            case 2: (0b0000, 0b1111)  // FFFF
            case 3: (0b0011, 0b0000)  // TTUU
            case 4: (0b0000, 0b0011)  // FFUU
            case 5: (0b0001, 0b0010)  // TFUU
            case 6: (0b0001, 0b0000)  // TUUU
            case 7: (0b0000, 0b0001)  // FUUU
            case 8: (0b1100, 0b0000)  // UUTT
            case 9: (0b0100, 0b1000)  // UUTF
            case 10: (0b0100, 0b0000)  // UUTU
            case 11: (0b1000, 0b0100)  // UUFT
            case 12: (0b0000, 0b1100)  // UUFF
            case 13: (0b0000, 0b0100)  // UUFU
            case 14: (0b1000, 0b0000)  // UUUT
            default: (0b0000, 0b1000)  // UUUF
            }
        return 0b1111 & ~(isTrue ? needFalse : needTrue)
    }
}
