import CWireProtocol
import Glibc

/// The live view of `demo --pressure`: a table that is kept up to date on a terminal, a line a
/// second anywhere else.
///
/// Threading: one thread.
final class PressureDisplay {
    private let isTerminal: Bool
    private let write: (String) -> Void
    private var before = gpuvm_memory_info_reply()
    private var tableLines = 0
    private var nextLine: UInt64 = 0

    /// - Parameter write: Gets texts with their line ends.
    init(isTerminal: Bool, write: @escaping (String) -> Void) {
        self.isTerminal = isTerminal
        self.write = write
    }

    /// On standard output.
    static func standardOutput() -> PressureDisplay {
        PressureDisplay(isTerminal: isatty(STDOUT_FILENO) == 1) { text in
            print(text, terminator: "")
            fflush(nil)
        }
    }

    /// Prints what is going to happen.
    func begin(
        _ server: String, _ scenario: PressureScenario, before: gpuvm_memory_info_reply
    ) {
        self.before = before
        write(PressureText.header(server, scenario).map { $0 + "\n" }.joined())
    }

    /// Shows a moment.
    func show(_ sample: PressureSample) {
        if isTerminal {
            draw(sample)
        } else if sample.elapsed >= nextLine {
            nextLine = sample.elapsed + 1_000_000_000
            write("  " + PressureText.progress(sample, since: before) + "\n")
        }
    }

    /// Shows the last moment, in full.
    func end(_ sample: PressureSample) {
        draw(sample)
    }

    /// Over what was drawn before, if that was on a terminal.
    private func draw(_ sample: PressureSample) {
        let lines = PressureText.table(sample, since: before)
        // Up to the first line of the table; each line then clears what stood there.
        var text = isTerminal && tableLines > 0 ? "\u{1b}[\(tableLines)A" : ""
        for line in lines { text += isTerminal ? "\(line)\u{1b}[K\n" : "\(line)\n" }
        tableLines = lines.count
        write(text)
    }
}
