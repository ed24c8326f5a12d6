import Logging

/// What the command line of `gpuvmd` says.
public struct DaemonOptions: Sendable {
    /// What is asked for.
    public enum Action: Sendable {
        /// Serve until a signal comes.
        case serve
        /// Say whether the configuration is right.
        case checkConfiguration
        /// Print the configuration that is in force.
        case printConfiguration
    }

    /// What to do.
    public var action = Action.serve
    /// The configuration file; nil for the standard one, if it exists.
    public var configurationFile: String?
    /// The socket's path, before all other sources.
    public var socketPath: String?
    /// The level of the log, before all other sources.
    public var logLevel: Logger.Level?
    /// A descriptor that gets the line `ready` and is closed when clients can connect.
    public var readyFD: Int32?

    /// The options of an empty command line.
    public init() {}
}
