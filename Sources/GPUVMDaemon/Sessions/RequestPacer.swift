import Synchronization

/// A token bucket for the requests of one client: so many at once, so many in a second, and no more
/// than its share of what all clients may.
///
/// It is kept as the time at which the bucket would be full again (the generic cell rate algorithm):
/// one word, and no timer that refills.
///
/// Threading: any thread, without locks.
final class RequestPacer: Sendable {
    /// What a refused request counts as: its text and its log line cost more than most requests do,
    /// and a correct client has hardly any.
    static let refusalWeight = 10
    /// What is owed below it, ns, is left owing: poll(2) counts milliseconds.
    static let leastDelay: UInt64 = 1_000_000
    /// Bytes of a message that count as one request more.
    private static let bytesOfOne = 4096

    /// Nanoseconds that one request refills in.
    private let interval: UInt64
    /// What the bucket holds, in nanoseconds.
    private let depth: UInt64
    private let share: RequestShare
    private let fullAt = Atomic<UInt64>(0)
    /// The window that `used` counts in.
    private let window = Atomic<UInt64>(0)
    private let used = Atomic<Int>(0)

    /// - Parameters:
    ///   - requestsPerSecond: 1 to 10⁹.
    ///   - burst: At least 1.
    ///   - share: Of all clients.
    init(requestsPerSecond: Int, burst: Int, share: RequestShare) {
        interval = 1_000_000_000 / UInt64(max(1, requestsPerSecond))
        depth = interval * UInt64(max(1, burst))
        self.share = share
    }

    /// What a message counts as.
    ///
    /// - Parameter bytes: Its length, with what lies in its memfd.
    static func weight(bytes: Int, wasRefused: Bool) -> Int {
        (wasRefused ? refusalWeight : 1) + bytes / bytesOfOne
    }

    /// Takes a request's tokens at `now` (ns); how long its client has to wait until the bucket is no
    /// longer overdrawn, ns, or 0 if that is not worth a wait.
    func take(_ weight: Int = 1, at now: UInt64) -> UInt64 {
        let number = now / RequestShare.window
        if window.exchange(number, ordering: .relaxed) != number {
            used.store(0, ordering: .relaxed)
        }
        let count = used.add(weight, ordering: .relaxed)
        if count.oldValue < share.busyRequests, count.newValue >= share.busyRequests {
            share.noteBusy(in: number)
        }
        let cost = max(interval, share.interval(in: number)) * UInt64(weight)
        var old = fullAt.load(ordering: .relaxed)
        while true {
            let new = max(old, now) + cost
            let (done, current) = fullAt.weakCompareExchange(
                expected: old, desired: new, ordering: .relaxed)
            if done {
                let owed = new - now > depth ? new - now - depth : 0
                return owed < Self.leastDelay ? 0 : owed
            }
            old = current
        }
    }
}
