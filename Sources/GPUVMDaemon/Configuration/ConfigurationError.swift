import SystemPackage

/// Why a configuration could not be taken.
public enum ConfigurationError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The file cannot be read.
    case unreadable(path: String, Errno)
    /// The file is larger than any configuration (``ConfigurationLoader/maximumFileBytes``).
    case tooLarge(path: String)
    /// The file is no UTF-8 text.
    case notText(path: String)
    /// The text is no YAML document.
    case syntax(ConfigurationLocation, message: String)
    /// One key stands twice in a section.
    case duplicateKeys([String], ConfigurationLocation)
    /// Keys or values are wrong: all of them, in the order of the file.
    case invalid([ConfigurationProblem])

    /// One line for each problem.
    public var description: String {
        switch self {
        case .unreadable(let path, let errno):
            "\(path): cannot be read: \(errno)"
        case .tooLarge(let path):
            "\(path): larger than \(ByteSize.format(UInt64(ConfigurationLoader.maximumFileBytes)))"
        case .notText(let path):
            "\(path): not UTF-8 text"
        case .syntax(let location, let message):
            "\(location): \(message)"
        case .duplicateKeys(let keys, let location):
            "\(location): duplicate key: \(keys.joined(separator: ", ")) (the first is here)"
        case .invalid(let problems):
            problems.map(\.description).joined(separator: "\n")
        }
    }
}
