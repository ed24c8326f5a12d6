/// What a configuration says about connections, beside what the device knows of quotas.
struct SessionPolicy: Sendable {
    /// Who may connect.
    let access: AccessPolicy
    /// Connections of one user.
    let clientsPerUser: Int
    /// How long a connection may take for its first request, ns.
    let helloTimeout: UInt64
    /// Waits of one connection.
    let waits: Int
    /// Requests of one connection in a second, and at once.
    let requestsPerSecond: Int
    let requestBurst: Int
    /// Requests of all connections in a second.
    let allRequestsPerSecond: Int
    /// How those are shared.
    let share: RequestShare

    /// The policy of a configuration.
    ///
    /// - Parameter former: Whose share goes on if it is as large.
    init(_ configuration: DaemonConfiguration, after former: SessionPolicy? = nil) {
        access = AccessPolicy(configuration.access)
        clientsPerUser = configuration.limits.maxClientsPerUser
        helloTimeout = configuration.limits.helloTimeout
        waits = configuration.quotas.waits
        requestsPerSecond = configuration.quotas.requestsPerSecond
        requestBurst = configuration.quotas.requestBurst
        let all = configuration.limits.requestsPerSecond
        allRequestsPerSecond = all
        if let former, former.allRequestsPerSecond == all {
            share = former.share
        } else {
            share = RequestShare(requestsPerSecond: all)
        }
    }
}
