/// Where a configuration value was written.
public enum ConfigurationLocation: Sendable, Equatable, CustomStringConvertible {
    /// A place in a file; lines and columns start at 1.
    case file(name: String, line: Int, column: Int)
    /// A variable of the environment.
    case environment(variable: String)

    /// `name:line:column`, as editors understand it.
    public var description: String {
        switch self {
        case .file(let name, let line, let column): "\(name):\(line):\(column)"
        case .environment(let variable): "environment variable \(variable)"
        }
    }
}
