import CFuzz

/// Defects of the fuzzers' own, by which they show that they would find one.
enum PlantedDefect {
    /// What each sanitizer or check is there for.
    static func meet(_ name: String, _ input: UnsafeRawBufferPointer) {
        // Three comparisons behind each other: chance alone would take 2^24 inputs.
        guard input.count >= 3, input[0] == 0x47, input[1] == 0x50, input[2] == 0x55 else { return }
        switch name {
        case "trap":
            let values = [UInt8](input)
            // One beyond the end.
            fuzzFailure("the array has \(values[values.count + Int(input[0]) - 0x47])")
        case "overflow": gpuvm_fuzz_overflow_heap(input.count)
        case "undefined": gpuvm_fuzz_overflow_integer(CInt(input[0]))
        default: fuzzFailure("there is no defect \(name)")
        }
    }
}
