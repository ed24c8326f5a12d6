import WireProtocol

/// Whoever serves the connections of a daemon.
///
/// Threading: every method may be called from any thread; the daemon holds no lock meanwhile.
public protocol ConnectionHandler: AnyObject, Sendable {
    /// The connections that are open; compared with `limits.max_clients` before each accept.
    var sessionCount: Int { get }

    /// Takes a new connection, from the acceptor's thread; must not block on the peer.
    func accept(_ socket: UnixSocket, credentials: UnixSocket.Credentials)

    /// Goes on with another configuration, of which it takes what can change while it serves.
    func reconfigure(_ configuration: DaemonConfiguration)

    /// Ends all connections and refuses new ones; returns when no client has anything left.
    ///
    /// - Parameter graceful: Whether submitted jobs may finish first (no longer than their time-out).
    ///   A second call with false, from another thread, makes a graceful one that still waits stop
    ///   waiting; both return when everything is released.
    func shutdown(graceful: Bool)
}
