import Fencing

/// How fast each user may connect: a connection costs the daemon a thread and a client, so that whoever
/// comes and goes at full speed would get around the pace of a client's requests.
///
/// Threading: any thread.
final class ConnectionPacer: Sendable {
    /// Connections of a user in a second, and at once after a pause.
    static let perSecond = 100
    static let burst = 200
    /// A connection that would have to wait longer, ns, is closed.
    static let longestDelay: UInt64 = 1_000_000_000
    /// Users remembered; those who have not connected for long are forgotten first.
    private static let capacity = 1024

    /// When each user's bucket is full again, ns.
    private let users = Guarded(.leaf, [UInt32: UInt64]())

    /// Counts a connection of `user` at `now` (ns): how long it has to wait, ns; nil if it is one too
    /// many.
    func take(_ user: UInt32, at now: UInt64) -> UInt64? {
        let interval = 1_000_000_000 / UInt64(Self.perSecond)
        return users.withLock { users in
            if users.count >= Self.capacity {
                users = users.filter { $0.value > now }
            }
            let fullAt = max(users[user] ?? 0, now) + interval
            let depth = interval * UInt64(Self.burst)
            let delay = fullAt - now > depth ? fullAt - now - depth : 0
            guard delay <= Self.longestDelay else { return nil }
            users[user] = fullAt
            return delay
        }
    }
}
