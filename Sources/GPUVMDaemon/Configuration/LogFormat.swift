/// The form of the lines that the daemon writes to standard error.
public enum LogFormat: String, Sendable, CaseIterable {
    /// `journal` if standard error is a journal stream, `plain` if not.
    case auto
    /// Time stamp and level in words.
    case plain
    /// Records with fields for systemd's journal if standard error is its stream; else lines with a
    /// priority prefix such as `<6>` and no time stamp, for whoever collects a service's output.
    case journal
}
