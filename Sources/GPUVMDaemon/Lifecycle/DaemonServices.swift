import Logging

/// What a daemon gives to whoever serves its connections.
public struct DaemonServices: Sendable {
    /// The effective configuration: quotas fit into what the system grants.
    public let configuration: DaemonConfiguration
    /// Where to log.
    public let logger: Logger
    /// Watches file descriptors; it runs until the handler has shut down.
    public let reactor: Reactor
}

/// Makes the handler of a daemon's connections; runs once, before the socket is bound.
public typealias ConnectionHandlerFactory =
    @Sendable (DaemonServices) throws -> any ConnectionHandler
