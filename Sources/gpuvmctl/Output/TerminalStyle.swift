import Glibc

/// Emphasis on a terminal, nothing anywhere else.
struct TerminalStyle {
    private let isColored: Bool

    /// No emphasis.
    static let plain = TerminalStyle(isColored: false)

    /// What standard output can show; NO_COLOR is respected.
    static var standardOutput: TerminalStyle {
        TerminalStyle(isColored: isatty(STDOUT_FILENO) == 1 && getenv("NO_COLOR") == nil)
    }

    private init(isColored: Bool) {
        self.isColored = isColored
    }

    func bold(_ text: String) -> String { wrap(text, "1") }
    func good(_ text: String) -> String { wrap(text, "1;32") }
    func bad(_ text: String) -> String { wrap(text, "1;31") }

    private func wrap(_ text: String, _ code: String) -> String {
        isColored ? "\u{1b}[\(code)m\(text)\u{1b}[0m" : text
    }
}
