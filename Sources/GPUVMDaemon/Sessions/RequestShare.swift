import Synchronization

/// What all clients together may ask for in a second, in equal shares for those who ask for much.
///
/// It holds for the clients that are busy: while one floods the daemon alone it has all of it, while
/// a hundred do each has a hundredth, and who asks for less than that is never slowed down.
///
/// Threading: any thread, without locks; a count that two threads open at once may miss a client for
/// one window.
final class RequestShare: Sendable {
    /// The time in which clients are counted, ns.
    static let window: UInt64 = 50_000_000
    /// Who asks for more than this part of the whole is busy.
    private static let busyPart = 400

    /// Nanoseconds for one request of all clients.
    private let interval: UInt64
    /// Requests in a window that make a client busy.
    let busyRequests: Int
    private let current = Atomic<UInt64>(0)
    private let counting = Atomic<Int>(0)
    private let counted = Atomic<Int>(0)

    /// - Parameter requestsPerSecond: 1 to 10⁹.
    init(requestsPerSecond: Int) {
        interval = 1_000_000_000 / UInt64(max(1, requestsPerSecond))
        let inWindow = requestsPerSecond / Int(1_000_000_000 / Self.window)
        busyRequests = max(1, inWindow / Self.busyPart)
    }

    /// Counts a client that is busy in window number `window`.
    func noteBusy(in window: UInt64) {
        turn(to: window)
        counting.add(1, ordering: .relaxed)
    }

    /// Nanoseconds for one request of one client in window number `window`.
    func interval(in window: UInt64) -> UInt64 {
        turn(to: window)
        let busy = max(
            counted.load(ordering: .relaxed), counting.load(ordering: .relaxed))
        return interval * UInt64(max(1, busy))
    }

    private func turn(to window: UInt64) {
        let old = current.load(ordering: .relaxed)
        guard window > old,
            current.compareExchange(expected: old, desired: window, ordering: .relaxed).exchanged
        else { return }
        let last = counting.exchange(0, ordering: .relaxed)
        counted.store(window == old + 1 ? last : 0, ordering: .relaxed)
    }
}
