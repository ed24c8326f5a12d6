import Synchronization

/// How many fds one client may make the daemon hold for its fences.
///
/// Threading: any thread.
public final class FenceFDQuota: Sendable {
    /// The limit.
    public let limit: Int
    private let used = Atomic<Int>(0)

    /// Creates a quota of `limit` fds.
    public init(limit: Int) {
        self.limit = limit
    }

    /// Fds held now.
    public var count: Int { used.load(ordering: .relaxed) }

    /// Takes one; ``FencingError/tooManyFiles(quota:)`` if all are taken.
    func take() throws(FencingError) {
        if used.add(1, ordering: .relaxed).newValue > limit {
            used.subtract(1, ordering: .relaxed)
            throw .tooManyFiles(quota: limit)
        }
    }

    func give() { used.subtract(1, ordering: .relaxed) }
}
