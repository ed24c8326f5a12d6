/// The form of the lines that the daemon writes to standard error.
public enum LogFormat: String, Sendable, CaseIterable {
    /// `journal` if standard error is a journal stream, `plain` if not.
    case auto
    /// Time stamp and level in words.
    case plain
    /// A priority prefix such as `<6>` and no time stamp: the journal has its own.
    case journal
}
