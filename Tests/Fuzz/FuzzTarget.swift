import CFuzz
import Fencing
import Glibc

/// What libFuzzer drives: takes any bytes, and aborts if what it tests does something wrong.
///
/// Nothing is left behind by an input that a later one could meet.
struct FuzzTarget {
    let name: String
    /// Runs one input.
    let run: @Sendable (UnsafeRawBufferPointer) -> Void

    static let all = [
        FuzzTarget(name: "decoder", run: DecoderTarget.run),
        FuzzTarget(name: "requests", run: RequestTarget.run),
        FuzzTarget(name: "ioctls", run: IoctlTarget.run),
        FuzzTarget(name: "commands", run: CommandTarget.run),
        FuzzTarget(name: "pushes", run: PushTarget.run),
        FuzzTarget(name: "configuration", run: ConfigurationTarget.run),
        FuzzTarget(name: "shim") { gpuvm_fuzz_shim($0.baseAddress, $0.count) },
    ]

    private static let chosen = Guarded<FuzzTarget?>(.leaf, nil)
    private static let defect = getenv("GPUVM_FUZZ_DEFECT").map { String(cString: $0) }

    /// Chooses what ``fuzzOneInput(_:_:)`` runs; false if there is no such target.
    static func choose(named name: String) -> Bool {
        guard let target = all.first(where: { $0.name == name }) else { return false }
        chosen.withLock { $0 = target }
        return true
    }

    static func runChosen(_ input: UnsafeRawBufferPointer) {
        chosen.withLock { $0 }?.run(input)
        if let defect { PlantedDefect.meet(defect, input) }
    }
}

/// Reports what an input made wrong, and has libFuzzer keep the input.
func fuzzFailure(_ text: String) -> Never {
    writeLine("fuzz failure: \(text)")
    abort()
}

/// Writes a line to the standard error stream.
func writeLine(_ text: String) {
    var line = text + "\n"
    line.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
}

// libFuzzer's link-time name of the callback; its archive wants one.
@_cdecl("LLVMFuzzerTestOneInput")
func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    FuzzTarget.runChosen(UnsafeRawBufferPointer(start: data, count: size))
    return 0
}
