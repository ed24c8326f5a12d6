/// Where a process's configuration comes from: a file, the environment, the command line, of which
/// the later one wins.
struct ConfigurationSource: Sendable {
    /// The command line.
    let options: DaemonOptions
    /// The process's environment.
    let environment: [String: String]

    /// Reads it.
    ///
    /// - Returns: The configuration, and the file that was read.
    func load() throws(ConfigurationError) -> (configuration: DaemonConfiguration, file: String?) {
        try load(file: options.configurationFile)
    }

    /// Reads it again; a file that was read before and is gone is an error and not the defaults.
    func reload(file: String?) throws(ConfigurationError) -> DaemonConfiguration {
        try load(file: file ?? options.configurationFile).configuration
    }

    private func load(
        file: String?
    ) throws(ConfigurationError) -> (configuration: DaemonConfiguration, file: String?) {
        var loaded = try ConfigurationLoader.load(file: file, environment: environment)
        if let level = options.logLevel { loaded.configuration.log.level = level }
        if let path = options.socketPath { loaded.configuration.socket.path = path }
        return loaded
    }
}
