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

    /// What standard error can show; NO_COLOR is respected.
    static var standardError: TerminalStyle {
        TerminalStyle(isColored: isatty(STDERR_FILENO) == 1 && getenv("NO_COLOR") == nil)
    }

    /// Colours whether a terminal is there or not; for tests.
    static let colored = TerminalStyle(isColored: true)

    /// Columns of the terminal behind a descriptor, else COLUMNS, else 80; 40…400.
    static func width(of descriptor: Int32) -> Int {
        var window = winsize()
        if ioctl(descriptor, UInt(TIOCGWINSZ), &window) == 0, window.ws_col != 0 {
            return min(400, max(40, Int(window.ws_col)))
        }
        let columns = getenv("COLUMNS").flatMap { Int(String(cString: $0)) }
        return min(400, max(40, columns ?? 80))
    }

    private init(isColored: Bool) {
        self.isColored = isColored
    }

    func bold(_ text: String) -> String { wrap(text, "1") }
    func good(_ text: String) -> String { wrap(text, "1;32") }
    func bad(_ text: String) -> String { wrap(text, "1;31") }

    /// The foreground colour of an SGR number, 30…37.
    func color(_ text: String, _ number: Int) -> String { wrap(text, "\(number)") }

    private func wrap(_ text: String, _ code: String) -> String {
        isColored ? "\u{1b}[\(code)m\(text)\u{1b}[0m" : text
    }
}
