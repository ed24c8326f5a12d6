import Logging

extension Daemon {
    /// Reads the configuration again and goes on with what a running daemon can take of it.
    ///
    /// The new one is read whole and checked before anything changes; if it is wrong, everything
    /// stays as it was, and log and service manager are told why. A daemon that does not run ignores
    /// the call.
    ///
    /// - Parameter load: Reads it.
    func reload(_ load: () throws(ConfigurationError) -> DaemonConfiguration) {
        guard isRunning else { return }
        notifier.reloading()
        let new: DaemonConfiguration
        do throws(ConfigurationError) {
            new = try load()
        } catch {
            report(error)
            notifier.ready(status: "The configuration stays as it was: \(error)")
            return
        }
        let change = ConfigurationChange(from: configuration, to: new)
        apply(change.configuration)
        report(change)
        notifier.ready(status: Self.status(change))
    }

    private func report(_ error: ConfigurationError) {
        for problem in error.problems {
            var metadata: Logger.Metadata = ["reason": "\(problem.reason)"]
            if !problem.key.isEmpty { metadata["key"] = "\(problem.key)" }
            switch problem.location {
            case .file(let name, let line, let column):
                metadata["file"] = "\(name)"
                metadata["line"] = "\(line)"
                metadata["column"] = "\(column)"
            case .environment(let variable): metadata["variable"] = "\(variable)"
            case nil: break
            }
            logger.error("the configuration is wrong and stays as it was", metadata: metadata)
        }
    }

    private func report(_ change: ConfigurationChange) {
        for item in change.applied {
            logger.notice(
                "configuration changed",
                metadata: [
                    "key": "\(item.key)", "from": "\(item.old ?? "not set")",
                    "to": "\(item.new ?? "not set")", "effect": "\(item.effect.rawValue)",
                ])
        }
        for item in change.postponed {
            logger.warning(
                "a changed key needs a restart",
                metadata: [
                    "key": "\(item.key)", "in_force": "\(item.old ?? "not set")",
                    "file": "\(item.new ?? "not set")",
                ])
        }
        logger.notice(
            "configuration reloaded",
            metadata: [
                "changed": "\(change.applied.count)",
                "need_restart": "\(change.postponed.count)",
            ])
    }

    private static func status(_ change: ConfigurationChange) -> String {
        var text = "Configuration reloaded"
        if !change.applied.isEmpty {
            text += ", changed: " + change.applied.map(\.key).joined(separator: ", ")
        }
        if !change.postponed.isEmpty {
            text +=
                ", needs a restart: " + change.postponed.map(\.key).joined(separator: ", ")
        }
        return text
    }
}

extension ConfigurationError {
    /// The same as single problems, each with its place as far as there is one.
    fileprivate var problems:
        [(
            key: String, reason: String, location: ConfigurationLocation?
        )]
    {
        switch self {
        case .invalid(let problems):
            problems.map { ($0.key, $0.reason.description, $0.location) }
        case .syntax(let location, let message): [("", message, location)]
        case .duplicateKeys(let keys, let location):
            [(keys.joined(separator: ", "), "duplicate key; the first is here", location)]
        case .unreadable, .tooLarge, .notText: [("", description, nil)]
        }
    }
}
