/// When a key that was changed in the file takes effect after a reload.
enum ReloadEffect: String, Sendable {
    /// With the reload.
    case atOnce = "at once"
    /// For clients that connect after it.
    case newClients = "for new clients"
    /// With the next start.
    case restart = "with a restart"
}

extension ConfigurationKey {
    /// Keys, or whole sections, that a running daemon takes over; any other one needs a restart.
    private static let live: [String: ReloadEffect] = [
        "log.level": .atOnce, "log.client_lines_per_second": .atOnce,
        "device.job_timeout": .atOnce, "device.hazards": .atOnce,
        "access": .newClients, "quotas": .newClients, "limits.max_clients": .atOnce,
        "limits.max_clients_per_user": .newClients, "limits.hello_timeout": .newClients,
        "limits.requests_per_second": .newClients,
    ]

    /// When a change of this key takes effect.
    var reloadEffect: ReloadEffect { Self.live[path] ?? Self.live[String(section)] ?? .restart }
}
